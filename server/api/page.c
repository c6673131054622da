/* Lists, a page at a time. */
#define _GNU_SOURCE /* strcasestr */
#include "api.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { MOST_ROWS = 1000 };

static const char *const orders[] = {"asc", "desc", NULL};
const api_field api_page_fields[] = {
    {"limit", API_INTEGER, false, true, 1, MOST_ROWS, "rows at most; 1000", NULL},
    {"cursor", API_ID, false, true, 0, 0, "go on behind this row: \"next\" of the answer before",
     NULL},
    {"sort", API_TEXT, false, true, 1, 40, "by this member of the rows", NULL},
    {"order", API_TEXT, false, true, 1, 4, "asc or desc; asc", orders},
    {"search", API_TEXT, false, true, 1, 100, "rows whose name has this in it", NULL},
    {"state", API_TEXT, false, true, 1, 40, "rows in this state", NULL},
    {0}};

typedef struct sorted {
  json_t *row;
  size_t place; /* before: what is equal keeps its order */
} sorted;

static _Thread_local const char *sort_by;
static _Thread_local int direction;

static int compare_values(const json_t *a, const json_t *b) {
  if (json_is_string(a) && json_is_string(b))
    return strcasecmp(json_string_value(a), json_string_value(b));
  if (json_is_string(a) || json_is_string(b)) return json_is_string(a) ? 1 : -1;
  double x = json_is_true(a) ? 1 : json_number_value(a),
         y = json_is_true(b) ? 1 : json_number_value(b);
  return (x > y) - (x < y);
}

static int compare(const void *a, const void *b) {
  const sorted *x = a, *y = b;
  int order = direction *
              compare_values(json_object_get(x->row, sort_by), json_object_get(y->row, sort_by));
  return order ? order : x->place < y->place ? -1 : 1;
}

static bool is_wanted(const api_call *call, const json_t *row) {
  const char *search = api_text(call, "search"), *state = api_text(call, "state"),
             *name = store_text(row, "name"), *in = store_text(row, "state");
  if (!name) name = store_text(row, "model_name");
  return (!search || (name && strcasestr(name, search))) &&
         (!state || (in && strcmp(in, state) == 0));
}

static size_t sort_rows(const api_call *call, json_t *rows, sorted *list) {
  const char *order = api_text(call, "order");
  size_t i, n = 0;
  json_t *row;
  json_array_foreach(rows, i, row) if (is_wanted(call, row)) list[n++] = (sorted){row, i};
  sort_by = api_text(call, "sort");
  direction = order && strcmp(order, "desc") == 0 ? -1 : 1;
  if (sort_by && n > 1) qsort(list, n, sizeof *list, compare);
  return n;
}

json_t *api_page(const api_call *call, const char *key, json_t *rows) {
  sorted *list = malloc((json_array_size(rows) + 1) * sizeof *list);
  size_t n = list ? sort_rows(call, rows, list) : 0, at = 0;
  size_t limit = (size_t)api_integer(call, "limit", MOST_ROWS);
  int64_t cursor = api_integer(call, "cursor", 0), next = 0;
  json_t *page = json_array();
  while (cursor && at < n && store_integer(list[at].row, "id") != cursor) at++;
  if (cursor) at = at < n ? at + 1 : 0; /* a row that is gone: from the beginning */
  for (; at < n && json_array_size(page) < limit; at++) json_array_append(page, list[at].row);
  if (at < n && at) next = store_integer(list[at - 1].row, "id");
  free(list);
  json_decref(rows);
  return json_pack("{s:o, s:o}", key, page, "next", next ? json_integer(next) : json_null());
}
