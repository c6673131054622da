/* From names of files to classes, labels and parts. */
#include "base/names.h"
#include "base/text.h"
#include "data/images/pictures.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

webml_status wml_entries_add(wml_entries *list, wml_arena *arena, const char *name, size_t length,
                             int64_t member, bool is_folder) {
  if (list->n == list->capacity) {
    size_t capacity = list->capacity * 2 + 256;
    wml_entry *grown = wml_regrow(list->items, list->n * sizeof *grown, capacity * sizeof *grown);
    if (!grown) return wml_no_memory(capacity * sizeof *grown, "file names");
    list->items = grown;
    list->capacity = capacity;
  }
  const char *copy = wml_arena_copy(arena, name, length);
  if (!copy) return wml_no_memory(length, "a file name");
  const char *slash = strrchr(copy, '/');
  list->items[list->n++] =
      (wml_entry){copy, member, slash ? (uint32_t)(slash - copy) : 0, is_folder};
  return WEBML_OK;
}

bool wml_is_litter(const char *name, size_t length) {
  static const char *const litter[] = {"__MACOSX", "Thumbs.db", "desktop.ini"};
  if (length && name[0] == '.') return true;
  for (size_t i = 0; i < sizeof litter / sizeof *litter; i++)
    if (strlen(litter[i]) == length && strncasecmp(name, litter[i], length) == 0) return true;
  return false;
}

/* Keras's order: os.walk's folders by their path, then the names of the files in each. */
static int by_folder_then_name(const void *a, const void *b) {
  const wml_entry *x = a, *y = b;
  uint32_t n = x->folder, m = y->folder;
  int order = memcmp(x->name, y->name, n < m ? n : m);
  if (order == 0 && n != m) return n < m ? -1 : 1;
  return order ? order : strcmp(x->name + n, y->name + m);
}

void wml_entries_sort(wml_entries *e) {
  if (e->n) qsort(e->items, e->n, sizeof *e->items, by_folder_then_name);
}

/* Both are sorted, and so is the result. */
webml_status wml_entries_merge(wml_entries *to, const wml_entries *from) {
  size_t n = to->n, m = from->n;
  if (m == 0) return WEBML_OK;
  wml_entry *all = wml_alloc((n + m) * sizeof *all);
  if (!all) return wml_no_memory((n + m) * sizeof *all, "file names");
  for (size_t i = 0, k = 0; i < n || k < m;) {
    bool first = k == m || (i < n && by_folder_then_name(&to->items[i], &from->items[k]) <= 0);
    all[i + k] = first ? to->items[i] : from->items[k];
    *(first ? &i : &k) += 1;
  }
  wml_free(to->items);
  *to = (wml_entries){n + m, n + m, all};
  return WEBML_OK;
}

static bool is_image(const char *name) {
  const char *dot = strrchr(name, '.');
  return dot && (strcasecmp(dot, ".png") == 0 || strcasecmp(dot, ".jpg") == 0 ||
                 strcasecmp(dot, ".jpeg") == 0);
}

static size_t first_length(const char *name) {
  return strcspn(name, "/");
}

static bool begins(const char *name, const char *folder) {
  size_t n = strlen(folder);
  return strncmp(name, folder, n) == 0 && (name[n] == '/' || name[n] == '\0');
}

static int depth_of(const char *name) {
  int depth = 0;
  for (; *name; name++) depth += *name == '/';
  return depth;
}

static const char training[] = "training_data", validation[] = "validation_data";

/* Bytes to leave off every name: those of one folder around everything, which is one whose inside
 * looks like a data set (pictures two folders deep, or the folders of the parts). */
static size_t wrapper_length(const wml_entries *e) {
  const char *first = NULL;
  size_t n = 0;
  bool parts = false, deep = true;
  for (size_t i = 0; i < e->n; i++) {
    const char *name = e->items[i].name;
    bool folder = e->items[i].is_folder;
    if (!folder && !is_image(name)) continue;
    if (!first) {
      first = name;
      n = first_length(name);
    }
    if (first_length(name) != n || memcmp(name, first, n) != 0)
      return 0; /* not around everything */
    if (!name[n]) {
      if (!folder) return 0;
      continue;
    }
    parts |= begins(name + n + 1, training);
    deep &= folder || depth_of(name) >= 2;
  }
  bool is_part = first && (begins(first, training) || begins(first, validation));
  return first && !is_part && (parts || deep) ? n + 1 : 0;
}

/* ---- classes ---- */

typedef struct found_class {
  const char *name;
  size_t length;
} found_class;

static int by_name(const void *a, const void *b) {
  const found_class *x = a, *y = b;
  size_t n = x->length < y->length ? x->length : y->length;
  int order = memcmp(x->name, y->name, n);
  return order ? order : (x->length > y->length) - (x->length < y->length);
}

static webml_status keep_classes(wml_pictures *p, const found_class *list, size_t n) {
  p->classes = wml_arena_alloc(&p->arena, (n + 1) * sizeof *p->classes);
  if (!p->classes) return wml_no_memory(n * sizeof *p->classes, "class names");
  for (size_t i = 0; i < n; i++)
    if (!(p->classes[i] = wml_arena_copy(&p->arena, list[i].name, list[i].length)))
      return wml_no_memory(list[i].length, "a class name");
  p->n_classes = (int)n;
  return WEBML_OK;
}

/* The names below `part` (NULL: at the top) that are folders, sorted, each once. */
static webml_status find_classes(wml_pictures *p, const wml_entries *e, size_t skip,
                                 const char *part) {
  found_class *list = wml_alloc((e->n + 1) * sizeof *list);
  size_t n = 0, unique = 0, below = part ? strlen(part) + 1 : 0;
  if (!list) return wml_no_memory(e->n * sizeof *list, "class names");
  for (size_t i = 0; i < e->n; i++) {
    const char *name = e->items[i].name;
    if (strlen(name) <= skip) continue;
    name += skip;
    if (part && !begins(name, part)) continue;
    if (strlen(name) <= below) continue;
    name += below;
    size_t length = first_length(name);
    if (name[length] || e->items[i].is_folder) {
      if (n && list[n - 1].length == length && memcmp(list[n - 1].name, name, length) == 0)
        continue;
      list[n++] = (found_class){name, length};
    }
  }
  qsort(list, n, sizeof *list, by_name);
  for (size_t i = 0; i < n; i++)
    if (i == 0 || by_name(&list[i], &list[unique - 1]) != 0) list[unique++] = list[i];
  webml_status status = keep_classes(p, list, unique);
  wml_free(list);
  return status;
}

static webml_status no_such_class(const wml_pictures *p, const char *text, size_t length) {
  char name[128];
  snprintf(name, sizeof name, "%.*s", (int)(length < 127 ? length : 127), text);
  const char *meant = wml_suggest(name, p->classes, (size_t)p->n_classes);
  return meant ? wml_fail(WEBML_ERROR_DATA, "%s has no class \"%s\", did you mean \"%s\"?", p->path,
                          name, meant)
               : wml_fail(WEBML_ERROR_DATA, "%s has no class \"%s\"", p->path, name);
}

/* Keras's `classes`: which ones are taken, and in which order. */
static webml_status choose_classes(wml_pictures *p, const char *text) {
  found_class *list = wml_alloc((strlen(text) + 2) * sizeof *list);
  wml_names names;
  size_t n = 0;
  if (!list) return wml_no_memory(strlen(text), "class names");
  webml_status status = wml_names_create(p->classes, p->n_classes, &names);
  for (const char *at = text; *at && status == WEBML_OK;) {
    size_t length = strcspn(at, ",\r\n"), next = length + strspn(at + length, ",\r\n");
    if (length && wml_names_find(&names, at, length) < 0)
      status = no_such_class(p, at, length);
    else if (length)
      list[n++] = (found_class){at, length};
    at += next;
  }
  if (status == WEBML_OK && n) status = keep_classes(p, list, n);
  wml_names_free(&names);
  wml_free(list);
  return status;
}

/* ---- pictures ---- */

static const char *skip_first(const char *name) {
  size_t n = first_length(name);
  return name[n] ? name + n + 1 : NULL;
}

static webml_status add_pictures(wml_pictures *p, const wml_entries *e, size_t skip, bool parts,
                                 bool chosen) {
  wml_names names = {0};
  p->list = wml_alloc((e->n + 1) * sizeof *p->list);
  if (!p->list) return wml_no_memory(e->n * sizeof *p->list, "a list of files");
  int64_t *count = wml_calloc((size_t)p->n_classes + 1, sizeof *count);
  wml_picture *unsorted = wml_alloc((e->n + 1) * sizeof *unsorted);
  webml_status status = count && unsorted ? wml_names_create(p->classes, p->n_classes, &names)
                                          : wml_no_memory(e->n * sizeof *unsorted, "files");
  for (size_t i = 0; i < e->n && status == WEBML_OK; i++) {
    const char *name = e->items[i].name;
    if (e->items[i].is_folder || strlen(name) <= skip) continue;
    name += skip;
    uint8_t part = parts && begins(name, validation) ? WML_PART_VALIDATION : WML_PART_TRAINING;
    if (parts && part == WML_PART_TRAINING && !begins(name, training)) name = NULL;
    if (name && parts) name = skip_first(name);
    bool inside = name && name[first_length(name)];
    if (!inside || !is_image(name)) {
      p->ignored++;
      continue;
    }
    int label = wml_names_find(&names, name, first_length(name));
    if (label < 0 && chosen) continue;
    if (label < 0)
      status = wml_fail(WEBML_ERROR_DATA,
                        "%s: the class \"%.*s\" is in %s but not in %s; every class must be there "
                        "to be learned",
                        p->path, (int)first_length(name), name, validation, training);
    else {
      unsorted[p->n++] = (wml_picture){e->items[i].name, e->items[i].member, label, part};
      count[label + 1]++;
    }
  }
  if (status == WEBML_OK) { /* by class; the order within one stays */
    for (int c = 0; c < p->n_classes; c++) count[c + 1] += count[c];
    for (int64_t i = 0; i < p->n; i++) p->list[count[unsorted[i].label]++] = unsorted[i];
  }
  wml_names_free(&names);
  wml_free(unsorted);
  wml_free(count);
  return status;
}

webml_status wml_pictures_arrange(wml_pictures *p, wml_entries *e, const char *class_list) {
  size_t skip = wrapper_length(e);
  bool parts = false;
  for (size_t i = 0; i < e->n; i++)
    if (strlen(e->items[i].name) > skip) {
      const char *name = e->items[i].name + skip;
      parts |= begins(name, training) && (name[sizeof training - 1] || e->items[i].is_folder);
      p->own_validation |= begins(name, validation);
    }
  p->own_validation &= parts;
  WML_TRY(find_classes(p, e, skip, parts ? training : NULL));
  if (p->n_classes == 0)
    return wml_fail(
        WEBML_ERROR_DATA,
        "%s holds no class folders; expected training_data/<class>/ and validation_data/<class>/, "
        "<class>/ with PNG or JPEG files, or a pair of IDX files",
        p->path);
  if (class_list) WML_TRY(choose_classes(p, class_list));
  WML_TRY(add_pictures(p, e, skip, parts, class_list != NULL));
  for (int64_t i = 0; i < p->n; i++)
    if (p->list[i].part == WML_PART_TRAINING) return WEBML_OK;
  return wml_fail(WEBML_ERROR_DATA, "%s holds no PNG or JPEG files to train on", p->path);
}
