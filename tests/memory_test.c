/* What a training will take is said before it starts, from the device's own plans: no less than the
 * trainer then allocates, and at most a few per cent more. By the library's own count of bytes on
 * the CPU, by the emulated runtime's on a GPU (`memory_test MODULE`). */
#include "base/alloc.h"
#include "devices/device.h"
#include "support.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char folder[] = "/tmp/webml-memory-XXXXXX";
static char csv_path[64], pictures_path[64], weights_path[64];

/* ---- data ---- */

static void write_table(const char *path, int rows, int columns) {
  FILE *f = fopen(path, "w");
  test_random r = {3};
  for (int c = 0; c < columns; c++) fprintf(f, "x%d,", c);
  fprintf(f, "colour,y\n");
  for (int i = 0; i < rows; i++) {
    for (int c = 0; c < columns; c++) fprintf(f, "%.3f,", test_uniform(&r));
    fprintf(f, "%s,%d\n", i % 3 ? "red" : "blue", i % 2);
  }
  fclose(f);
}

static void write_number(FILE *f, uint32_t n) {
  for (int shift = 24; shift >= 0; shift -= 8) fputc((int)(n >> shift & 255), f);
}

/* IDX files. */
static void write_pictures(const char *path, int n, int side) {
  char name[128];
  test_random r = {5};
  snprintf(name, sizeof name, "mkdir -p %s", path);
  CHECK(system(name) == 0);
  snprintf(name, sizeof name, "%s/train-images-idx3-ubyte", path);
  FILE *f = fopen(name, "wb");
  write_number(f, 0x803), write_number(f, (uint32_t)n);
  write_number(f, (uint32_t)side), write_number(f, (uint32_t)side);
  for (int i = 0; i < n * side * side; i++) fputc((int)(test_uniform(&r) * 255), f);
  fclose(f);
  snprintf(name, sizeof name, "%s/train-labels-idx1-ubyte", path);
  f = fopen(name, "wb");
  write_number(f, 0x801), write_number(f, (uint32_t)n);
  for (int i = 0; i < n; i++) fputc(i % 10, f);
  fclose(f);
}

/* ---- what a training has ---- */

typedef struct gauge {
  const webml_device *device;
  int64_t before, most;
} gauge;

/* Bytes that are taken: of the device where it has memory of its own, else of the machine. */
static int64_t taken(const webml_device *d) {
  return wml_device_shares_memory(d) ? wml_alloc_bytes()
                                     : -(int64_t)d->backend->available(d->handle);
}

static void look(gauge *g) {
  int64_t now = taken(g->device) - g->before;
  if (now > g->most) g->most = now;
}

static void on_progress(const webml_progress *p, void *user) {
  (void)p;
  look(user);
}

typedef struct memory_case {
  const char *name, *model, *data;
  int64_t batch;
  double split;
} memory_case;

static webml_status train(const webml_model *model, const webml_dataset *dataset,
                          webml_device *device, webml_train_options *o, gauge *g) {
  webml_trainer *t = NULL;
  *g = (gauge){.device = device, .before = taken(device)};
  o->progress = on_progress;
  o->progress_seconds = 1e-9;
  o->user = g;
  webml_status status = webml_trainer_create(model, dataset, device, o, &t);
  if (status == WEBML_OK) look(g);
  if (status == WEBML_OK) status = webml_trainer_run(t);
  webml_trainer_destroy(t);
  return status;
}

static void test_case(const memory_case *c, webml_device *device, webml_precision precision) {
  webml_dataset_options data = {
      .struct_size = sizeof data, .validation_split = c->split, .cache = "none"};
  webml_train_options o = {.struct_size = sizeof o,
                           .epochs = 2,
                           .batch_size = c->batch,
                           .precision = precision,
                           .weights_path = weights_path};
  webml_model *open = NULL, *model = NULL;
  webml_dataset *dataset = NULL;
  webml_training_memory need, estimate;
  gauge g;
  CHECK_OK(webml_model_parse(c->model, strlen(c->model), &open));
  CHECK_OK(webml_dataset_open(c->data, &data, &dataset));
  CHECK_OK(webml_model_shape_to(open, dataset, &model, NULL));
  int64_t live = wml_alloc_live(), before = taken(device);
  CHECK_OK(webml_trainer_memory(model, dataset, device, &o, &need));
  CHECK(wml_alloc_live() == live && taken(device) == before);
  CHECK_OK(webml_trainer_memory(model, dataset, NULL, &o, &estimate));
  CHECK(wml_alloc_live() == live);
  CHECK_OK(train(model, dataset, device, &o, &g));
  double said = (double)(need.total - need.context), has = (double)g.most;
  bool gpu = !wml_device_shares_memory(device);
  printf("%-6s %-9s %-14s said %8.2f MB, has %8.2f MB", device->name, c->name,
         precision == WEBML_MIXED_BFLOAT16 ? "mixed_bfloat16" : "float32", said / 1e6, has / 1e6);
  printf(gpu ? ", estimated %.2f MB\n" : "\n", (double)(estimate.total - estimate.context) / 1e6);
  CHECKF(said >= has && said <= 1.03 * has + 2e6, "%s: said %.0f, has %.0f", c->name, said, has);
  CHECK(!need.estimated && estimate.estimated && (need.context > 0) == gpu);
  if (gpu) CHECK(estimate.total >= need.total);
  webml_dataset_destroy(dataset);
  webml_model_destroy(model);
  webml_model_destroy(open);
}

/* ---- cases ---- */

static const char mlp[] =
    "{\"size\":[null],\"dynamic\":true,\"optimizer\":\"adam\",\"loss\":null,\"layers\":["
    "{\"type\":\"Dense\",\"layer\":{\"units\":1500,\"activation\":\"relu\"}},"
    "{\"type\":\"BatchNormalization\"},"
    "{\"type\":\"Dense\",\"layer\":{\"units\":1000,\"activation\":\"gelu\"}},"
    "{\"type\":\"Dense\",\"layer\":{\"units\":null,\"activation\":\"sigmoid\"}}]}";
static const char cnn[] =
    "{\"size\":[28,28,1],\"dynamic\":true,\"optimizer\":\"sgd\",\"loss\":null,\"layers\":["
    "{\"type\":\"Conv2D\",\"layer\":{\"filters\":16,\"kernel_size\":3,\"activation\":\"relu\"}},"
    "{\"type\":\"MaxPooling2D\"},"
    "{\"type\":\"Conv2D\",\"layer\":{\"filters\":32,\"kernel_size\":3}},"
    "{\"type\":\"BatchNormalization\"},{\"type\":\"Flatten\"},{\"type\":\"Dropout\",\"layer\":"
    "{\"rate\":0.2}},"
    "{\"type\":\"Dense\",\"layer\":{\"units\":null,\"activation\":\"softmax\"}}]}";

static void test_device(const char *name, double share) {
  webml_device *device = NULL;
  /* Emulated devices are slow: fewer and smaller batches, and the same plans. */
  const memory_case cases[] = {{"table", mlp, csv_path, (int64_t)(64 * share), 0.3},
                               {"no rest", mlp, csv_path, (int64_t)(200 * share), 0},
                               {"pictures", cnn, pictures_path, (int64_t)(48 * share), 0.25},
                               {"large", cnn, pictures_path, 1000, 0.25}};
  CHECK_OK(webml_device_open(name, 2, &device));
  for (size_t i = 0; device && i < sizeof cases / sizeof *cases; i++) {
    test_case(&cases[i], device, WEBML_FLOAT32);
    if (webml_device_check(device, WEBML_MIXED_BFLOAT16) == WEBML_OK)
      test_case(&cases[i], device, WEBML_MIXED_BFLOAT16);
    else
      test_skip("mixed_bfloat16", webml_last_error());
  }
  webml_device_destroy(device);
}

/* Each allocation fails in turn: an error, and nothing is left behind. */
static void test_failing_allocations(const webml_model *model, const webml_dataset *dataset,
                                     webml_device *device) {
  webml_training_memory need;
  int64_t live = wml_alloc_live();
  for (int64_t n = 1; test_failures < 20; n++) {
    wml_alloc_fail_from(n);
    webml_status status = webml_trainer_memory(model, dataset, device, NULL, &need);
    wml_alloc_fail_from(0);
    CHECKF(wml_alloc_live() == live, "allocation %lld failing leaks", (long long)n);
    if (status == WEBML_OK) return;
    CHECKF(status == WEBML_ERROR_MEMORY, "allocation %lld: %s", (long long)n, webml_last_error());
  }
}

/* A device without bfloat16 says so before anything is read. */
static void test_refusal(void) {
  webml_device *device = NULL;
  webml_trainer *t = NULL;
  webml_training_memory need;
  webml_model *model = NULL, *open = NULL;
  webml_dataset *dataset = NULL;
  webml_train_options o = {.struct_size = sizeof o, .precision = WEBML_MIXED_BFLOAT16};
  CHECK_OK(webml_model_parse(mlp, strlen(mlp), &open));
  CHECK_OK(webml_dataset_open(csv_path, NULL, &dataset));
  CHECK_OK(webml_model_shape_to(open, dataset, &model, NULL));
  CHECK_OK(webml_device_open("cpu", 1, &device));
  test_failing_allocations(model, dataset, device);
  test_failing_allocations(model, dataset, NULL);
  device->bfloat16 = false; /* as that of a processor that has none */
  CHECK_STATUS(WEBML_ERROR_UNSUPPORTED, webml_device_check(device, WEBML_MIXED_BFLOAT16));
  CHECK_ERROR("device cpu: mixed_bfloat16 needs a processor that computes in bfloat16");
  CHECK_ERROR("use float32, or another device");
  CHECK_OK(webml_device_check(device, WEBML_FLOAT32_STRICT));
  CHECK_STATUS(WEBML_ERROR_UNSUPPORTED, webml_trainer_create(model, dataset, device, &o, &t));
  CHECK_STATUS(WEBML_ERROR_UNSUPPORTED, webml_trainer_memory(model, dataset, device, &o, &need));
  CHECK_STATUS(WEBML_ERROR_UNSUPPORTED, webml_trainer_memory(model, NULL, device, &o, &need));
  device->compute_capability[0] = 7, device->compute_capability[1] = 5;
  CHECK_STATUS(WEBML_ERROR_UNSUPPORTED, webml_device_check(device, WEBML_MIXED_BFLOAT16));
  CHECK_ERROR("compute capability 8.0 or more, and this one has 7.5");
  CHECK_STATUS(WEBML_ERROR_MODEL, webml_trainer_memory(open, NULL, device, NULL, &need));
  CHECK_OK(webml_trainer_memory(model, NULL, NULL, NULL, &need));
  CHECK(need.estimated && need.plans.total > 0);
  webml_device_destroy(device);
  webml_model_destroy(model);
  webml_model_destroy(open);
  webml_dataset_destroy(dataset);
}

int main(int argc, char **argv) {
  char command[128];
  if (!mkdtemp(folder)) return 1;
  snprintf(csv_path, sizeof csv_path, "%s/table.csv", folder);
  snprintf(pictures_path, sizeof pictures_path, "%s/pictures", folder);
  snprintf(weights_path, sizeof weights_path, "%s/a.safetensors", folder);
  bool emulated = argc > 1;
  write_table(csv_path, emulated ? 60 : 1000, 40);
  write_pictures(pictures_path, emulated ? 50 : 600, 28);
  if (emulated) {
    setenv("WEBML_CUDA_MODULE", argv[1], 1);
    setenv("WEBML_CACHE", folder, 1);
    test_device("cuda:0", 0.25);
  } else {
    test_device("cpu", 1);
    test_refusal();
  }
  snprintf(command, sizeof command, "rm -r %s", folder);
  return test_report() | (system(command) ? 1 : 0);
}
