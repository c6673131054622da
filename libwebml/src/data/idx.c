/* MNIST-style IDX pairs, plain or gzip: train-images-idx3-ubyte with train-labels-idx1-ubyte, and
 * t10k-... for validation. A classes.txt beside them names the classes, one per line. */
#include "base/file.h"
#include "data/dataset.h"

#include <math.h>
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
    int64_t want = n - at < 1 << 28 ? n - at : 1 << 28;
    int got = gzread(f, out + at, (unsigned)want);
    if (got <= 0) {
      int code;
      const char *why = gzerror(f, &code);
      return wml_fail(WEBML_ERROR_PARSE, "%s: cut off after %lld of %lld bytes%s%s", path,
                      (long long)at, (long long)n, code != Z_OK && code != Z_BUF_ERROR ? ": " : "",
                      code != Z_OK && code != Z_BUF_ERROR ? why : "");
    }
    at += got;
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

static webml_status read_pair(const char *images, const char *labels, wml_image_part *part,
                              int *classes) {
  int64_t dims[3], count[3];
  uint8_t *bytes = NULL;
  WML_TRY(wml_idx_read(images, 3, dims, &part->pixels));
  WML_TRY(wml_idx_read(labels, 1, count, &bytes));
  webml_status status = WEBML_OK;
  if (count[0] != dims[0])
    status = wml_fail(WEBML_ERROR_DATA, "%s has %lld images, but %s has %lld labels", images,
                      (long long)dims[0], labels, (long long)count[0]);
  if (status == WEBML_OK && (dims[1] > 4096 || dims[2] > 4096))
    status = wml_fail(WEBML_ERROR_DATA, "%s: images of %lldx%lld are too large", images,
                      (long long)dims[1], (long long)dims[2]);
  if (status == WEBML_OK && !(part->labels = wml_alloc((size_t)dims[0] * sizeof *part->labels)))
    status = wml_no_memory((size_t)dims[0] * 4, "labels");
  for (int64_t i = 0; status == WEBML_OK && i < dims[0]; i++) {
    part->labels[i] = bytes[i];
    if (bytes[i] >= *classes) *classes = bytes[i] + 1;
  }
  wml_free(bytes);
  if (status == WEBML_OK)
    part->n = dims[0], part->height = (int)dims[1], part->width = (int)dims[2];
  return status;
}

static webml_status read_named(webml_dataset *d, const char *prefix, int part, int *classes) {
  char name[64];
  snprintf(name, sizeof name, "%s-images-idx3-ubyte", prefix);
  char *images = find_file(d->path, name);
  snprintf(name, sizeof name, "%s-labels-idx1-ubyte", prefix);
  char *labels = find_file(d->path, name);
  webml_status status = WEBML_OK;
  if (images && labels)
    status = read_pair(images, labels, &d->parts[part], classes);
  else if (part == WML_PART_TRAINING)
    status =
        wml_fail(WEBML_ERROR_IO, "%s has %s-images-idx3-ubyte but not its labels", d->path, prefix);
  wml_free(images);
  wml_free(labels);
  return status;
}

/* Names from classes.txt, or the numbers. */
static webml_status name_classes(webml_dataset *d, int n) {
  char *path = wml_path_join(d->path, "classes.txt"), *text = NULL;
  size_t size = 0;
  if (path && wml_file_exists(path)) wml_file_read(path, 1 << 20, &text, &size);
  wml_free(path);
  d->classes = wml_arena_alloc(&d->arena, (size_t)n * sizeof *d->classes);
  webml_status status = d->classes ? WEBML_OK : wml_no_memory((size_t)n, "class names");
  const char *at = text ? text : "";
  for (int i = 0; i < n && status == WEBML_OK; i++) {
    char number[16];
    size_t length = strcspn(at, "\r\n");
    snprintf(number, sizeof number, "%d", i);
    d->classes[i] = length ? wml_arena_copy(&d->arena, at, length)
                           : wml_arena_copy(&d->arena, number, strlen(number));
    if (!d->classes[i]) status = wml_no_memory(length, "a class name");
    at += length + strspn(at + length, "\r\n");
  }
  wml_free(text);
  d->n_classes = n;
  return status;
}

/* Without a t10k pair the last rows validate, as Keras splits arrays. */
static webml_status split_rows(webml_dataset *d) {
  wml_image_part *t = &d->parts[WML_PART_TRAINING], *v = &d->parts[WML_PART_VALIDATION];
  if (v->n || d->validation_split == 0.0) return WEBML_OK;
  int64_t keep = (int64_t)floor((double)t->n * (1.0 - d->validation_split)), n = t->n - keep;
  size_t image = (size_t)t->height * (size_t)t->width;
  v->pixels = wml_alloc((size_t)n * image);
  v->labels = wml_alloc((size_t)n * sizeof *v->labels);
  if (!v->pixels || !v->labels) return wml_no_memory((size_t)n * image, "the validation part");
  memcpy(v->pixels, t->pixels + (size_t)keep * image, (size_t)n * image);
  memcpy(v->labels, t->labels + keep, (size_t)n * sizeof *v->labels);
  v->n = n, v->height = t->height, v->width = t->width;
  t->n = keep;
  return WEBML_OK;
}

webml_status wml_idx_open(webml_dataset *d) {
  int classes = 1;
  WML_TRY(read_named(d, "train", WML_PART_TRAINING, &classes));
  WML_TRY(read_named(d, "t10k", WML_PART_VALIDATION, &classes));
  WML_TRY(name_classes(d, classes));
  return split_rows(d);
}
