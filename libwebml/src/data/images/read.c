/* Opening a set of pictures, and reading one after the other. */
#include "base/file.h"
#include "base/hash.h"
#include "data/images/pictures.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

static webml_status open_list(wml_pictures *p, const char *class_list, const char *cache) {
  wml_entries entries = {0};
  char *names = NULL, *path = NULL;
  size_t size = 0;
  struct stat info;
  webml_status status = WEBML_OK;
  p->place = wml_is_directory(p->path) ? WML_IN_FOLDER : WML_IN_ZIP;
  if (p->place == WML_IN_FOLDER) {
    path = wml_path_join(p->path, "classes.txt");
    if (!path) return wml_no_memory(strlen(p->path), "a path");
    if (!class_list && wml_file_exists(path)) status = wml_file_read(path, 1 << 20, &names, &size);
    wml_free(path);
    if (status == WEBML_OK) status = wml_folder_list(p, &entries);
  } else if (stat(p->path, &info) == 0) {
    p->identity = wml_file_identity(&info);
    bool found = false;
    uint64_t key = class_list ? wml_hash(p->identity, class_list, strlen(class_list)) : p->identity;
    if (cache) status = wml_list_load(p, cache, key, &found);
    if (found || status != WEBML_OK) return status;
    status = wml_zip_list(p, &entries);
    if (status == WEBML_OK) status = wml_pictures_arrange(p, &entries, class_list);
    wml_free(entries.items);
    if (status == WEBML_OK && cache) wml_list_save(p, cache, key);
    return status;
  } else
    status = wml_fail(WEBML_ERROR_IO, "cannot read %s: %s", p->path, strerror(errno));
  if (status == WEBML_OK)
    status = wml_pictures_arrange(p, &entries, class_list ? class_list : names);
  wml_free(entries.items);
  wml_free(names);
  return status;
}

webml_status wml_pictures_open(const char *path, const char *class_list, const char *cache,
                               wml_pictures *p) {
  *p = (wml_pictures){0};
  p->path = wml_arena_copy(&p->arena, path, strlen(path));
  webml_status status = p->path ? WEBML_OK : wml_no_memory(strlen(path), "a path");
  if (status == WEBML_OK)
    status = wml_is_directory(path) && wml_idx_present(path) ? wml_idx_open(p, class_list)
                                                             : open_list(p, class_list, cache);
  if (status != WEBML_OK) wml_pictures_free(p);
  return status;
}

void wml_pictures_free(wml_pictures *p) {
  wml_free(p->list);
  wml_free(p->pixels);
  wml_arena_free(&p->arena);
  *p = (wml_pictures){0};
}

webml_status wml_pictures_split(wml_pictures *p, const wml_split_options *given) {
  wml_split_options o = *given;
  if (p->own_validation) {
    if (o.folds)
      return wml_fail(WEBML_ERROR_DATA, "%s has a validation part of its own: folds cannot be made",
                      p->path);
    o.validation = 0.0;
  }
  if (wml_split_is_none(&o)) return WEBML_OK;
  uint8_t *parts = wml_alloc((size_t)p->n + 1);
  int32_t *labels = wml_alloc((size_t)p->n * sizeof *labels + 1);
  webml_status status = parts && labels ? WEBML_OK : wml_no_memory((size_t)p->n * 5, "splitting");
  for (int64_t i = 0; i < p->n && status == WEBML_OK; i++) {
    parts[i] = p->list[i].part == WML_PART_TRAINING ? WML_PART_TRAINING : WML_PART_NONE;
    labels[i] = p->list[i].label;
  }
  /* Rows of an IDX file are split as rows of a table, files class by class. */
  bool files = p->place != WML_IN_IDX, by_class = files || o.how == WEBML_SPLIT_STRATIFIED;
  if (status == WEBML_OK)
    status = wml_split_assign(&o, p->n, by_class ? labels : NULL, p->n_classes, files, parts);
  bool any = false;
  for (int64_t i = 0; i < p->n && status == WEBML_OK; i++) {
    if (parts[i] != WML_PART_NONE) p->list[i].part = parts[i];
    any |= p->list[i].part == WML_PART_TRAINING;
  }
  wml_free(parts);
  wml_free(labels);
  if (status == WEBML_OK && !any)
    return wml_fail(WEBML_ERROR_DATA, "%s: the split leaves no pictures to train on", p->path);
  return status;
}

const char *wml_picture_name(const wml_pictures *p, int64_t i, char *buffer, size_t size) {
  if (p->list[i].name)
    snprintf(buffer, size, "%s/%s", p->path, p->list[i].name);
  else
    snprintf(buffer, size, "%s: picture %lld", p->path, (long long)i);
  return buffer;
}

webml_status wml_reader_open(const wml_pictures *p, wml_picture_reader *r) {
  *r = (wml_picture_reader){.pictures = p, .folder = -1};
  if (p->place == WML_IN_ZIP) return wml_zip_open(p->path, &r->zip);
  if (p->place == WML_IN_IDX) return WEBML_OK;
  r->folder = open(p->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  return r->folder >= 0
             ? WEBML_OK
             : wml_fail(WEBML_ERROR_IO, "cannot read the folder %s: %s", p->path, strerror(errno));
}

void wml_reader_close(wml_picture_reader *r) {
  if (r->folder >= 0) close(r->folder);
  if (r->zip) wml_zip_close(r->zip);
  wml_free(r->bytes);
  wml_image_free(&r->image);
  *r = (wml_picture_reader){.folder = -1};
}

static webml_status read_file(wml_picture_reader *r, int64_t i) {
  const wml_pictures *p = r->pictures;
  const char *name = p->list[i].name;
  int fd = openat(r->folder, name, O_RDONLY | O_CLOEXEC);
  webml_status status = WEBML_OK;
  r->size = 0;
  for (;;) {
    if (r->size == r->capacity) {
      size_t capacity = r->capacity * 2 + (1 << 16);
      uint8_t *grown = wml_regrow(r->bytes, r->size, capacity);
      if (!grown) status = wml_no_memory(capacity, name);
      if (!grown) break;
      r->bytes = grown;
      r->capacity = capacity;
    }
    ssize_t got = fd < 0 ? -1 : read(fd, r->bytes + r->size, r->capacity - r->size);
    if (got < 0 && fd >= 0 && errno == EINTR) continue;
    if (got < 0)
      status = wml_fail(WEBML_ERROR_IO, "cannot read %s/%s: %s", p->path, name, strerror(errno));
    if (got <= 0) break;
    r->size += (size_t)got;
    if (r->size > WML_IMAGE_MAX_FILE) {
      status = wml_fail(WEBML_ERROR_PARSE, "%s/%s is larger than any picture", p->path, name);
      break;
    }
  }
  if (fd >= 0) close(fd);
  return status;
}

webml_status wml_reader_read(wml_picture_reader *r, int64_t i) {
  return r->pictures->place == WML_IN_ZIP ? wml_zip_read(r, i) : read_file(r, i);
}

webml_status wml_reader_fit(wml_picture_reader *r, int64_t i, const wml_picture_options *o,
                            int height, int width, int channels, uint8_t *out) {
  const wml_pictures *p = r->pictures;
  if (p->place == WML_IN_IDX) {
    wml_image image = {.width = p->width,
                       .height = p->height,
                       .channels = 1,
                       .pixels = p->pixels + (size_t)i * (size_t)p->height * (size_t)p->width};
    return wml_image_fit(&image, o->resize, height, width, channels, out);
  }
  char name[512];
  WML_TRY(wml_reader_read(r, i));
  return wml_image_prepare(r->bytes, r->size, wml_picture_name(p, i, name, sizeof name), o, height,
                           width, channels, &r->image, out);
}
