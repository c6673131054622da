/* Image folders: training_data/<class>/ and validation_data/<class>/, or <class>/. Classes in
 * code-point order; files of a class in the order of a sorted walk, as Keras takes them. */
#include "base/file.h"
#include "data/dataset.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { MAX_WALK_DEPTH = 16 };

typedef struct names {
  char **items;
  size_t n, capacity;
} names;

static void free_names(names *list) {
  for (size_t i = 0; i < list->n; i++) wml_free(list->items[i]);
  wml_free(list->items);
  *list = (names){0};
}

static webml_status add_name(names *list, char *name) {
  if (!name) return wml_no_memory(1, "a file name");
  if (list->n == list->capacity) {
    size_t capacity = list->capacity * 2 + 64;
    char **grown = wml_regrow(list->items, list->n * sizeof *grown, capacity * sizeof *grown);
    if (!grown) {
      wml_free(name);
      return wml_no_memory(capacity * sizeof *grown, "file names");
    }
    list->items = grown;
    list->capacity = capacity;
  }
  list->items[list->n++] = name;
  return WEBML_OK;
}

static int compare(const void *a, const void *b) {
  return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Full paths of the entries that are folders (or files), sorted by name. */
static webml_status list_entries(const char *folder, bool folders, names *out) {
  DIR *dir = opendir(folder);
  if (!dir)
    return wml_fail(WEBML_ERROR_IO, "cannot read the folder %s: %s", folder, strerror(errno));
  webml_status status = WEBML_OK;
  for (struct dirent *e; status == WEBML_OK && (e = readdir(dir)) != NULL;) {
    if (e->d_name[0] == '.') continue;
    char *path = wml_path_join(folder, e->d_name);
    if (path && wml_is_directory(path) != folders)
      wml_free(path);
    else
      status = add_name(out, path);
  }
  closedir(dir);
  if (out->n) qsort(out->items, out->n, sizeof *out->items, compare);
  return status;
}

static bool is_image(const char *path) {
  const char *dot = strrchr(path, '.');
  return dot && (strcasecmp(dot, ".png") == 0 || strcasecmp(dot, ".jpg") == 0 ||
                 strcasecmp(dot, ".jpeg") == 0);
}

/* Files of a folder, then those of its folders. */
static webml_status walk(const char *folder, int depth, names *files) {
  names here = {0}, below = {0};
  webml_status status = list_entries(folder, false, &here);
  for (size_t i = 0; i < here.n && status == WEBML_OK; i++)
    if (is_image(here.items[i])) {
      status = add_name(files, here.items[i]);
      here.items[i] = NULL;
    }
  if (status == WEBML_OK && depth < MAX_WALK_DEPTH) status = list_entries(folder, true, &below);
  for (size_t i = 0; i < below.n && status == WEBML_OK; i++)
    status = walk(below.items[i], depth + 1, files);
  free_names(&here);
  free_names(&below);
  return status;
}

static const char *base_name(const char *path) {
  const char *slash = strrchr(path, '/');
  return slash ? slash + 1 : path;
}

static webml_status append_files(webml_dataset *d, wml_image_part *part, char *const *paths,
                                 size_t n, int label) {
  size_t have = (size_t)part->n;
  if (n == 0) return WEBML_OK;
  wml_image_file *files = wml_regrow(part->files, have * sizeof *files, (have + n) * sizeof *files);
  if (!files) return wml_no_memory((have + n) * sizeof *files, "a list of files");
  part->files = files;
  for (size_t i = 0; i < n; i++) {
    const char *path = wml_arena_copy(&d->arena, paths[i], strlen(paths[i]));
    if (!path) return wml_no_memory(strlen(paths[i]), "a file name");
    files[part->n++] = (wml_image_file){path, label};
  }
  return WEBML_OK;
}

static webml_status set_classes(webml_dataset *d, const names *folders) {
  if (folders->n == 0)
    return wml_fail(
        WEBML_ERROR_DATA,
        "%s holds no class folders; expected training_data/<class>/ and validation_data/<class>/, "
        "<class>/ with PNG or JPEG files, or a pair of IDX files",
        d->path);
  d->classes = wml_arena_alloc(&d->arena, folders->n * sizeof *d->classes);
  if (!d->classes) return wml_no_memory(folders->n * sizeof *d->classes, "class names");
  for (size_t i = 0; i < folders->n; i++) {
    const char *name = base_name(folders->items[i]);
    if (!(d->classes[i] = wml_arena_copy(&d->arena, name, strlen(name))))
      return wml_no_memory(strlen(name), "a class name");
  }
  d->n_classes = (int)folders->n;
  return WEBML_OK;
}

static int class_index(const webml_dataset *d, const char *name) {
  for (int i = 0; i < d->n_classes; i++)
    if (strcmp(d->classes[i], name) == 0) return i;
  return -1;
}

/* Keras: of each class the first int(v n) files are for validation, the rest for training. */
static webml_status read_class(webml_dataset *d, const char *folder, int label, int part,
                               double split) {
  names files = {0};
  webml_status status = walk(folder, 0, &files);
  size_t held = (size_t)(split * (double)files.n);
  if (status == WEBML_OK)
    status = append_files(d, &d->parts[WML_PART_VALIDATION], files.items, held, label);
  if (status == WEBML_OK)
    status = append_files(d, &d->parts[part], files.items + held, files.n - held, label);
  free_names(&files);
  return status;
}

static webml_status read_part(webml_dataset *d, const char *folder, int part, double split,
                              bool defines_classes) {
  names folders = {0};
  webml_status status = list_entries(folder, true, &folders);
  if (status == WEBML_OK && defines_classes) status = set_classes(d, &folders);
  for (size_t i = 0; i < folders.n && status == WEBML_OK; i++) {
    const char *name = base_name(folders.items[i]);
    int label = class_index(d, name);
    if (label < 0)
      status = wml_fail(WEBML_ERROR_DATA, "the class \"%s\" is in %s but not in the training part",
                        name, folder);
    else
      status = read_class(d, folders.items[i], label, part, split);
  }
  free_names(&folders);
  return status;
}

webml_status wml_folder_open(webml_dataset *d) {
  char *training = wml_path_join(d->path, "training_data"),
       *validation = wml_path_join(d->path, "validation_data");
  webml_status status =
      training && validation ? WEBML_OK : wml_no_memory(strlen(d->path), "a path");
  if (status == WEBML_OK) {
    bool split = wml_is_directory(training), held = split && wml_is_directory(validation);
    status = read_part(d, split ? training : d->path, WML_PART_TRAINING,
                       held ? 0.0 : d->validation_split, true);
    if (status == WEBML_OK && held)
      status = read_part(d, validation, WML_PART_VALIDATION, 0.0, false);
  }
  wml_free(training);
  wml_free(validation);
  if (status == WEBML_OK && d->parts[WML_PART_TRAINING].n == 0)
    return wml_fail(WEBML_ERROR_DATA, "%s holds no PNG or JPEG files to train on", d->path);
  return status;
}
