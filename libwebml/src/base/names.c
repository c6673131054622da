#include "base/names.h"

#include "base/alloc.h"

#include <stdlib.h>
#include <string.h>

static int compare(const wml_name *a, const char *text, size_t length) {
  size_t n = a->length < length ? a->length : length;
  int order = memcmp(a->text, text, n);
  return order ? order : (a->length > length) - (a->length < length);
}

/* Equal names in the order of the list, so that the first one is found. */
static int by_text(const void *a, const void *b) {
  const wml_name *x = a, *y = b;
  int order = compare(x, y->text, y->length);
  return order ? order : (x->index > y->index) - (x->index < y->index);
}

webml_status wml_names_create(const char *const *list, int n, wml_names *names) {
  *names = (wml_names){0};
  names->sorted = wml_alloc(((size_t)n + 1) * sizeof *names->sorted);
  if (!names->sorted) return wml_no_memory((size_t)n * sizeof *names->sorted, "an index of names");
  for (int i = 0; i < n; i++) names->sorted[i] = (wml_name){list[i], strlen(list[i]), i};
  names->n = n;
  qsort(names->sorted, (size_t)n, sizeof *names->sorted, by_text);
  return WEBML_OK;
}

int wml_names_find(const wml_names *names, const char *text, size_t length) {
  int low = 0, high = names->n;
  while (low < high) {
    int middle = low + (high - low) / 2;
    if (compare(&names->sorted[middle], text, length) < 0)
      low = middle + 1;
    else
      high = middle;
  }
  bool found = low < names->n && compare(&names->sorted[low], text, length) == 0;
  return found ? names->sorted[low].index : -1;
}

void wml_names_free(wml_names *names) {
  wml_free(names->sorted);
  *names = (wml_names){0};
}
