/* The parts of the data bench, each one run of one process, so that bench/data.py can interleave
 * them with peers and read times and memory: webml-bench encode FILE CACHE COLUMNS OUTPUT   a CSV
 * file to an encoded matrix webml-bench pack PATH CACHE SIDE RESIZE        pictures to packed
 * pixels webml-bench open PATH CACHE SIDE               opening what is packed already webml-bench
 * bare FOLDER                        readdir, reading and full decoding by libjpeg-turbo alone
 * webml-bench walk FOLDER                        readdir and fstatat alone Each prints one JSON
 * line with "seconds". */
#include "bench.h"

#include "base/threads.h"
#include "data/dataset.h"

#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <jpeglib.h>

static int fail(void) {
  fprintf(stderr, "webml-bench: %s\n", webml_last_error());
  return 1;
}

static void print_result(double seconds, long long items) {
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  printf("{\"seconds\": %.6f, \"items\": %lld, \"peak_mb\": %.1f}\n", seconds, items,
         (double)usage.ru_maxrss / 1024.0);
}

static webml_status load(const char *path, const webml_dataset_options *o, const char *description,
                         webml_dataset **dataset, wml_loaded *loaded) {
  webml_model *model = NULL, *shaped = NULL;
  webml_status status = webml_model_parse(description, strlen(description), &model);
  if (status == WEBML_OK) status = webml_dataset_open(path, o, dataset);
  if (status == WEBML_OK) status = webml_model_shape_to(model, *dataset, &shaped, NULL);
  if (status == WEBML_OK) status = wml_dataset_load(*dataset, shaped, NULL, WML_ALL_PARTS, loaded);
  webml_model_destroy(model);
  webml_model_destroy(shaped);
  return status;
}

static int encode(char **argv) {
  webml_dataset_options o = {
      .struct_size = sizeof o, .cache = argv[1], .inputs = argv[2], .outputs = argv[3]};
  webml_dataset *dataset = NULL;
  wml_loaded loaded;
  double start = bench_now();
  if (load(argv[0], &o,
           "{\"layers\":[{\"type\":\"Dense\",\"layer\":{\"units\":null}}],\"size\":[null],"
           "\"optimizer\":null,\"loss\":null,\"dynamic\":true,\"format\":\"csvdata\"}",
           &dataset, &loaded) != WEBML_OK)
    return fail();
  print_result(bench_now() - start, loaded.parts[WML_PART_TRAINING].n);
  wml_loaded_free(&loaded);
  webml_dataset_destroy(dataset);
  return 0;
}

static int pack(char **argv) {
  webml_dataset_options o = {.struct_size = sizeof o, .cache = argv[1]};
  char description[256];
  int side = atoi(argv[2]);
  o.resize = (webml_resize)(argv[3] ? atoi(argv[3]) : 0);
  snprintf(description, sizeof description,
           "{\"layers\":[{\"type\":\"Flatten\"},{\"type\":\"Dense\",\"layer\":{\"units\":null}}],"
           "\"size\":[%d,%d,3],\"optimizer\":null,\"loss\":null,\"dynamic\":true}",
           side, side);
  webml_dataset *dataset = NULL;
  wml_loaded loaded;
  double start = bench_now();
  if (load(argv[0], &o, description, &dataset, &loaded) != WEBML_OK) return fail();
  print_result(bench_now() - start, loaded.parts[WML_PART_TRAINING].n);
  wml_loaded_free(&loaded);
  webml_dataset_destroy(dataset);
  return 0;
}

/* ---- bare peers ---- */

typedef struct list {
  char **items;
  size_t n, capacity;
} list;

static void collect(const char *folder, list *files, bool stat_only, long long *seen) {
  DIR *dir = opendir(folder);
  struct stat info;
  if (!dir) return;
  for (struct dirent *e; (e = readdir(dir)) != NULL;) {
    if (e->d_name[0] == '.') continue;
    if (stat_only && fstatat(dirfd(dir), e->d_name, &info, 0) != 0) continue;
    char path[4096];
    bool is_folder = e->d_type == DT_DIR;
    if (!is_folder) ++*seen;
    if (!is_folder && stat_only) continue;
    snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
    if (is_folder) {
      collect(path, files, stat_only, seen);
      continue;
    }
    if (files->n == files->capacity) {
      files->capacity = files->capacity * 2 + 1024;
      files->items = realloc(files->items, files->capacity * sizeof *files->items);
    }
    files->items[files->n++] = strdup(path);
  }
  closedir(dir);
}

typedef struct decoding {
  list files;
  atomic_llong next;
} decoding;

static webml_status decode_some(void *arg, int helper) {
  decoding *d = arg;
  struct jpeg_decompress_struct info;
  struct jpeg_error_mgr errors;
  size_t size = 1 << 16, room = 1 << 20;
  uint8_t *bytes = malloc(size), *pixels = malloc(room);
  (void)helper;
  info.err = jpeg_std_error(&errors);
  jpeg_create_decompress(&info);
  for (;;) {
    size_t i = (size_t)atomic_fetch_add(&d->next, 1), got = 0;
    if (i >= d->files.n) break;
    struct stat about;
    int fd = open(d->files.items[i], O_RDONLY);
    if (fd < 0 || fstat(fd, &about) != 0) continue;
    if ((size_t)about.st_size > size) bytes = realloc(bytes, size = (size_t)about.st_size * 2);
    while (got < (size_t)about.st_size) {
      ssize_t n = read(fd, bytes + got, (size_t)about.st_size - got);
      if (n <= 0) break;
      got += (size_t)n;
    }
    close(fd);
    jpeg_mem_src(&info, bytes, got);
    jpeg_read_header(&info, TRUE);
    info.out_color_space = JCS_RGB;
    jpeg_start_decompress(&info);
    size_t stride = (size_t)info.output_width * 3;
    if (stride * info.output_height > room)
      pixels = realloc(pixels, room = stride * info.output_height);
    while (info.output_scanline < info.output_height) {
      JSAMPROW rows[8];
      for (size_t k = 0; k < 8; k++) {
        size_t y = info.output_scanline + k;
        rows[k] = pixels + (y < info.output_height ? y : info.output_height - 1) * stride;
      }
      jpeg_read_scanlines(&info, rows, 8);
    }
    jpeg_finish_decompress(&info);
  }
  jpeg_destroy_decompress(&info);
  free(bytes);
  free(pixels);
  return WEBML_OK;
}

static int bare(char **argv) {
  decoding d = {.files = {0}};
  long long seen = 0;
  double start = bench_now();
  collect(argv[0], &d.files, false, &seen);
  atomic_init(&d.next, 0);
  wml_parallel(wml_helper_count(), decode_some, &d);
  print_result(bench_now() - start, seen);
  return 0;
}

static int walk(char **argv) {
  list none = {0};
  long long seen = 0;
  double start = bench_now();
  collect(argv[0], &none, true, &seen);
  print_result(bench_now() - start, seen);
  return 0;
}

int bench_data(int argc, char **argv) {
  if (argc >= 5 && strcmp(argv[0], "encode") == 0) return encode(argv + 1);
  if (argc >= 4 && (strcmp(argv[0], "pack") == 0 || strcmp(argv[0], "open") == 0))
    return pack(argv + 1);
  if (argc >= 2 && strcmp(argv[0], "bare") == 0) return bare(argv + 1);
  if (argc >= 2 && strcmp(argv[0], "walk") == 0) return walk(argv + 1);
  return -1;
}
