/* MNIST-style IDX pairs, plain or gzip: train-images-idx3-ubyte with train-labels-idx1-ubyte, and
 * t10k-... for validation. A classes.txt beside them names the classes, one per line. */
#include "base/file.h"
#include "data/bomb.h"
#include "data/images/pictures.h"

#include <string.h>
#include <zlib.h>

static const int64_t max_bytes = (int64_t)1 << 36;

/* The file under its plain or gzip name; NULL when there is none. wml_free(). */
static char *find_file(const char *folder, const char *name) {
  char gzip[96];
  size_t n = strlen(name);
  memcpy(gzip, name, n);
  memcpy(gzip + n, ".gz", 4);
  char *path = wml_path_join(folder, name);
  if (path && wml_file_exists(path)) return path;
  wml_free(path);
  path = wml_path_join(folder, gzip);
  if (path && wml_file_exists(path)) return path;
  wml_free(path);
  return NULL;
}

bool wml_idx_present(const char *folder) {
  char *path = find_file(folder, "train-images-idx3-ubyte");
  wml_free(path);
  return path != NULL;
}

static int64_t big_endian(const uint8_t *p) {
  return (int64_t)p[0] << 24 | (int64_t)p[1] << 16 | (int64_t)p[2] << 8 | p[3];
}

static webml_status read_exactly(gzFile f, const char *path, uint8_t *out, int64_t n) {
  for (int64_t at = 0; at < n;) {
    int64_t want = n - at < 1 << 22 ? n - at : 1 << 22;
    int got = gzread(f, out + at, (unsigned)want);
    if (got <= 0) {
      int code;
      const char *why = gzerror(f, &code);
      return wml_fail(WEBML_ERROR_PARSE, "%s: cut off after %lld of %lld bytes%s%s", path,
                      (long long)at, (long long)n, code != Z_OK && code != Z_BUF_ERROR ? ": " : "",
                      code != Z_OK && code != Z_BUF_ERROR ? why : "");
    }
    at += got;
    WML_TRY(wml_bomb_check(path, (uint64_t)gztell(f), (uint64_t)gzoffset(f)));
  }
  return WEBML_OK;
}

static webml_status read_open(gzFile f, const char *path, int rank, int64_t dims[3],
                              uint8_t **bytes) {
  uint8_t head[16];
  int64_t total = 1;
  WML_TRY(read_exactly(f, path, head, 4 + 4 * rank));
  if (head[0] || head[1] || head[2] != 8 || head[3] != rank)
    return wml_fail(WEBML_ERROR_PARSE, "%s: not an IDX file of %d-dimensional bytes", path, rank);
  for (int i = 0; i < rank; i++) {
    dims[i] = big_endian(head + 4 + 4 * i);
    if (dims[i] < 1)
      return wml_fail(WEBML_ERROR_PARSE, "%s: dimension %d is 0; there is nothing in it", path, i);
    if (dims[i] > max_bytes / total)
      return wml_fail(WEBML_ERROR_PARSE, "%s: dimension %d of %lld makes it larger than any file",
                      path, i, (long long)dims[i]);
    total *= dims[i];
  }
  /* Grow with what is really there: a header alone must not make the library allocate gigabytes. */
  uint8_t *data = NULL;
  int64_t have = 0;
  webml_status status = WEBML_OK;
  while (have < total && status == WEBML_OK) {
    int64_t next = have ? have * 4 : 1 << 24;
    if (next > total) next = total;
    uint8_t *grown = wml_regrow(data, (size_t)have, (size_t)next);
    if (!grown)
      status = wml_no_memory((size_t)next, path);
    else {
      data = grown;
      status = read_exactly(f, path, data + have, next - have);
      have = next;
    }
  }
  if (status == WEBML_OK)
    *bytes = data;
  else
    wml_free(data);
  return status;
}

webml_status wml_idx_read(const char *path, int rank, int64_t dims[3], uint8_t **bytes) {
  gzFile f = gzopen(path, "rb");
  if (!f) return wml_fail(WEBML_ERROR_IO, "cannot read %s", path);
  gzbuffer(f, 1 << 18);
  webml_status status = read_open(f, path, rank, dims, bytes);
  gzclose(f);
  return status;
}

/* One pair behind what is there already. */
static webml_status read_pair(wml_pictures *p, const char *images, const char *labels,
                              uint8_t part) {
  int64_t dims[3], count[3];
  uint8_t *pixels = NULL, *bytes = NULL;
  webml_status status = wml_idx_read(images, 3, dims, &pixels);
  if (status == WEBML_OK) status = wml_idx_read(labels, 1, count, &bytes);
  if (status == WEBML_OK && count[0] != dims[0])
    status = wml_fail(WEBML_ERROR_DATA, "%s has %lld images, but %s has %lld labels", images,
                      (long long)dims[0], labels, (long long)count[0]);
  if (status == WEBML_OK && (dims[1] > 4096 || dims[2] > 4096))
    status = wml_fail(WEBML_ERROR_DATA, "%s: images of %lldx%lld are too large", images,
                      (long long)dims[1], (long long)dims[2]);
  if (status == WEBML_OK && p->n && (dims[1] != p->height || dims[2] != p->width))
    status = wml_fail(WEBML_ERROR_DATA, "%s: images of %lldx%lld, but the others are %dx%d", images,
                      (long long)dims[1], (long long)dims[2], p->height, p->width);
  if (status == WEBML_OK) {
    size_t n = (size_t)dims[0], image = (size_t)(dims[1] * dims[2]), have = (size_t)p->n;
    wml_picture *list = wml_regrow(p->list, have * sizeof *list, (have + n) * sizeof *list);
    if (list) p->list = list;
    uint8_t *all = have && list ? wml_regrow(p->pixels, have * image, (have + n) * image) : pixels;
    if (!list || !all)
      status = wml_no_memory((have + n) * image, images);
    else {
      if (all != pixels) memcpy(all + have * image, pixels, n * image);
      if (all == pixels) pixels = NULL;
      p->pixels = all;
      p->height = (int)dims[1], p->width = (int)dims[2];
      for (size_t i = 0; i < n; i++) {
        p->list[p->n++] =
            (wml_picture){.member = (int64_t)(have + i), .label = bytes[i], .part = part};
        if (bytes[i] >= p->n_classes) p->n_classes = bytes[i] + 1;
      }
    }
  }
  wml_free(pixels);
  wml_free(bytes);
  return status;
}

static webml_status read_named(wml_pictures *p, const char *prefix, uint8_t part) {
  char name[64];
  struct stat info;
  snprintf(name, sizeof name, "%s-images-idx3-ubyte", prefix);
  char *images = find_file(p->path, name);
  snprintf(name, sizeof name, "%s-labels-idx1-ubyte", prefix);
  char *labels = find_file(p->path, name);
  webml_status status = WEBML_OK;
  if (images && labels) {
    if (stat(images, &info) == 0) p->identity ^= wml_file_identity(&info);
    if (stat(labels, &info) == 0) p->identity += wml_file_identity(&info);
    status = read_pair(p, images, labels, part);
    p->own_validation |= part == WML_PART_VALIDATION;
  } else if (part == WML_PART_TRAINING)
    status =
        wml_fail(WEBML_ERROR_IO, "%s has %s-images-idx3-ubyte but not its labels", p->path, prefix);
  wml_free(images);
  wml_free(labels);
  return status;
}

/* Names from the list, or from classes.txt, or the numbers. */
static webml_status name_classes(wml_pictures *p, const char *class_list) {
  char *path = wml_path_join(p->path, "classes.txt"), *text = NULL;
  size_t size = 0;
  webml_status status = WEBML_OK;
  if (!class_list && path && wml_file_exists(path))
    status = wml_file_read(path, 1 << 20, &text, &size);
  wml_free(path);
  p->classes = wml_arena_alloc(&p->arena, (size_t)p->n_classes * sizeof *p->classes);
  if (!p->classes) status = wml_no_memory((size_t)p->n_classes, "class names");
  const char *at = class_list ? class_list : text ? text : "";
  for (int i = 0; i < p->n_classes && status == WEBML_OK; i++) {
    char number[16];
    size_t length = strcspn(at, ",\r\n");
    snprintf(number, sizeof number, "%d", i);
    p->classes[i] = length ? wml_arena_copy(&p->arena, at, length)
                           : wml_arena_copy(&p->arena, number, strlen(number));
    if (!p->classes[i]) status = wml_no_memory(length, "a class name");
    at += length + strspn(at + length, ",\r\n");
  }
  wml_free(text);
  return status;
}

webml_status wml_idx_open(wml_pictures *p, const char *class_list) {
  p->place = WML_IN_IDX;
  p->n_classes = 1;
  WML_TRY(read_named(p, "train", WML_PART_TRAINING));
  WML_TRY(read_named(p, "t10k", WML_PART_VALIDATION));
  return name_classes(p, class_list);
}
