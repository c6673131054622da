/* Training on small tables: fit, resume bit for bit, callbacks, class weights, fine-tuning,
 * cancellation, values that are not finite, and each allocation failing in turn. */
#include "base/alloc.h"
#include "formats/weights.h"
#include "support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char folder[] = "/tmp/webml-train-XXXXXX";
static char csv_path[64], weights_path[64], other_path[64], checkpoint_path[80];

static const char mlp[] =
    "{\"size\":[null],\"dynamic\":true,\"optimizer\":\"adam\",\"loss\":null,\"layers\":["
    "{\"type\":\"Dense\",\"layer\":{\"units\":16,\"activation\":\"relu\",\"kernel_regularizer\":"
    "\"l2\"}},"
    "{\"type\":\"BatchNormalization\",\"layer\":{}},{\"type\":\"Dropout\",\"layer\":{\"rate\":0.2}}"
    ","
    "{\"type\":\"Dense\",\"layer\":{\"units\":null,\"activation\":\"softmax\"}}]}";

/* Labels that a small network can learn: the quadrant of (x, y), spoiled by a coloured flag. */
static void write_table(const char *path, int rows, const char *extra) {
  FILE *f = fopen(path, "w");
  test_random r = {3};
  fprintf(f, "x,y,colour,quadrant\n");
  for (int i = 0; i < rows; i++) {
    double x = test_uniform(&r) - 0.5, y = test_uniform(&r) - 0.5;
    static const char *const colours[] = {"red", "green", "blue"};
    fprintf(f, "%.5f,%.5f,%s,q%d\n", x, y, colours[i % 3], (x > 0) + 2 * (y > 0));
  }
  if (extra) fputs(extra, f);
  fclose(f);
}

typedef struct world {
  webml_model *model;
  webml_dataset *dataset;
  webml_device *device;
} world;

static webml_status open_world(world *w, const char *model, const char *csv, double split) {
  webml_dataset_options o = {.struct_size = sizeof o, .validation_split = split};
  webml_model *open = NULL;
  *w = (world){0};
  webml_status status = webml_model_parse(model, strlen(model), &open);
  if (status == WEBML_OK) status = webml_dataset_open(csv, &o, &w->dataset);
  if (status == WEBML_OK) status = webml_model_shape_to(open, w->dataset, &w->model, NULL);
  if (status == WEBML_OK) status = webml_device_open("cpu", 2, &w->device);
  webml_model_destroy(open);
  return status;
}

static void close_world(world *w) {
  webml_device_destroy(w->device);
  webml_dataset_destroy(w->dataset);
  webml_model_destroy(w->model);
}

/* Trains in this process; stops after `stop_after` progress calls by cancelling when that is
 * positive. */
typedef struct counter {
  webml_trainer *trainer;
  int calls, stop_after, messages;
  char last_message[512];
} counter;

static void on_progress(const webml_progress *p, void *user) {
  counter *c = user;
  CHECK(p->epoch >= 1 && p->epoch <= p->epochs && p->step <= p->steps);
  if (++c->calls == c->stop_after) webml_trainer_cancel(c->trainer);
}

static void on_message(const char *text, void *user) {
  counter *c = user;
  c->messages++;
  snprintf(c->last_message, sizeof c->last_message, "%s", text);
}

static webml_status train(const world *w, webml_train_options o, counter *c, char **record) {
  webml_trainer *t = NULL;
  o.struct_size = sizeof o;
  o.progress = on_progress;
  o.progress_seconds = 1e-9;
  o.message = on_message;
  o.user = c;
  webml_status status = webml_trainer_create(w->model, w->dataset, w->device, &o, &t);
  c->trainer = t;
  if (status == WEBML_OK) status = webml_trainer_run(t);
  if (status == WEBML_OK && record) status = webml_trainer_record(t, record);
  webml_trainer_destroy(t);
  return status;
}

static bool same_tensors(const char *a, const char *b) {
  wml_weights x, y;
  bool same = wml_weights_read(a, &x) == WEBML_OK;
  if (!same || wml_weights_read(b, &y) != WEBML_OK) return false;
  same = x.file.n == y.file.n;
  for (int i = 0; same && i < x.file.n; i++) {
    const wml_named_tensor *t = wml_safetensors_find(&y.file, x.file.tensors[i].name);
    same = t && memcmp(t->data, x.file.tensors[i].data,
                       (size_t)wml_named_elements(t) * sizeof(float)) == 0;
  }
  wml_weights_free(&x);
  wml_weights_free(&y);
  return same;
}

static void test_learning(void) {
  world w;
  counter c = {0};
  char *record = NULL, *json = NULL;
  CHECK_OK(open_world(&w, mlp, csv_path, 0.25));
  CHECK_OK(train(
      &w,
      (webml_train_options){
          .epochs = 60, .batch_size = 30, .weights_path = weights_path, .learning_rate = 0.01},
      &c, &record));
  CHECK(record && strstr(record, "\"val_loss\"") && strstr(record, "\"accuracy\""));
  webml_predictor *p = NULL;
  CHECK_OK(webml_predictor_load(weights_path, w.device, 16, &p));
  CHECK_OK(webml_predictor_evaluate(p, w.dataset, WEBML_PART_AUTO, &json));
  const char *at = json ? strstr(json, "\"accuracy\":") : NULL;
  CHECKF(at && atof(at + 11) > 0.9, "accuracy on a problem that is easy: %s", at ? at : "none");
  webml_free(json);
  CHECK_OK(webml_predictor_row(p, "{\"x\":0.4,\"y\":0.4,\"colour\":\"red\"}", &json));
  CHECKF(json && strstr(json, "\"quadrant\":\"q3\""), "%s", json ? json : "");
  webml_free(json);
  CHECK_STATUS(WEBML_ERROR_DATA,
               webml_predictor_row(p, "{\"x\":0.4,\"y\":0.4,\"colour\":\"rod\"}", &json));
  CHECK_ERROR("did you mean \"red\"?");
  CHECK_STATUS(WEBML_ERROR_DATA, webml_predictor_row(p, "{\"x\":0.4,\"colour\":\"red\"}", &json));
  CHECK_ERROR("no value for the column \"y\"");
  /* batches of any size give the rows' own answers */
  float x[37 * 5], all[37 * 4], one[4];
  test_random r = {1};
  test_fill(&r, x, 37 * 5, -1, 1);
  CHECK(webml_predictor_input_size(p) == 5 && webml_predictor_output_size(p) == 4);
  CHECK_OK(webml_predictor_run(p, x, 37, all));
  uint64_t before = webml_allocation_count();
  for (int i = 0; i < 37; i++) {
    CHECK_OK(webml_predictor_run(p, x + 5 * i, 1, one));
    CHECK(test_difference(all + 4 * i, one, 4) < 1e-6);
  }
  CHECK(webml_allocation_count() == before);
  webml_predictor_destroy(p);
  webml_free(record);
  close_world(&w);
}

/* Cancel after some progress calls, resume, and so on to the end: the same bits as in one go. o has
 * the checkpoint's path. */
static void check_pieces(const world *w, webml_train_options o) {
  int starts = 0;
  webml_status status = WEBML_ERROR_CANCELLED;
  for (; status == WEBML_ERROR_CANCELLED && starts < 50; starts++) {
    counter part = {.stop_after = 3 + starts % 4};
    status = train(w, o, &part, NULL);
  }
  CHECK_OK(status);
  CHECKF(starts >= 4, "%d starts", starts);
  CHECK(same_tensors(weights_path, other_path));
}

static void test_resume(void) {
  world w;
  counter c = {0};
  webml_train_options o = {.epochs = 6,
                           .batch_size = 30,
                           .seed = 5,
                           .weights_path = weights_path,
                           .learning_rate = 0.01,
                           .schedule = WEBML_SCHEDULE_COSINE,
                           .warmup_epochs = 1,
                           .plateau_patience = 1};
  CHECK_OK(open_world(&w, mlp, csv_path, 0.25));
  unlink(checkpoint_path);
  CHECK_OK(train(&w, o, &c, NULL));
  o.weights_path = other_path;
  o.checkpoint_path = checkpoint_path;
  o.resume = true;
  check_pieces(&w, o);
  counter again = {0}; /* finished: nothing to do, and nothing to say but where it stands */
  CHECK_OK(train(&w, o, &again, NULL));
  CHECKF(again.messages == 1, "%d messages, the last: %s", again.messages, again.last_message);
  o.warmup_epochs = 2;
  counter other = {0};
  CHECK_OK(train(&w, o, &other, NULL));
  CHECK(other.messages == 2);
  o.warmup_epochs = 1;
  /* what does not match is said */
  o.batch_size = 31;
  CHECK_STATUS(WEBML_ERROR_MISMATCH, train(&w, o, &c, NULL));
  CHECK_ERROR("its batch size is another one");
  o.batch_size = 30;
  o.seed = 6;
  CHECK_STATUS(WEBML_ERROR_MISMATCH, train(&w, o, &c, NULL));
  o.seed = 5;
  world changed;
  CHECK_OK(open_world(&changed, mlp, csv_path, 0.30));
  CHECK_STATUS(WEBML_ERROR_MISMATCH, train(&changed, o, &c, NULL));
  CHECK_ERROR("the data has changed");
  close_world(&changed);
  webml_device_destroy(w.device);
  w.device = NULL;
  CHECK_OK(webml_device_open("cpu", 1, &w.device));
  counter said = {0};
  CHECK_OK(train(&w, o, &said, NULL));
  CHECK(said.messages >= 2);
  close_world(&w);
}

static void accumulating_model(char *model, size_t bytes, const char *optimizer) {
  snprintf(model, bytes,
           "{\"size\":[null],\"dynamic\":true,\"optimizer\":%s,\"loss\":null,\"layers\":[{\"type\":"
           "\"Dense\",\"layer\":{\"units\":6,\"activation\":\"tanh\"}},"
           "{\"type\":\"Dense\",\"layer\":{\"units\":null,\"activation\":\"softmax\"}}]}",
           optimizer);
}

/* Optimizers that keep more than moving means: resumed wherever they were in an accumulation. */
static void test_resumed_optimizers(void) {
  static const char *const optimizers[] = {
      "{\"name\":\"adam\",\"gradient_accumulation_steps\":3,\"use_ema\":true}"};
  for (size_t i = 0; i < sizeof optimizers / sizeof *optimizers; i++) {
    char model[1024];
    world w;
    counter c = {0};
    webml_train_options o = {
        .epochs = 12, .batch_size = 30, .weights_path = weights_path, .keep_last = true};
    accumulating_model(model, sizeof model, optimizers[i]);
    CHECK_OK(open_world(&w, model, csv_path, 0.25));
    unlink(checkpoint_path);
    CHECK_OK(train(&w, o, &c, NULL));
    o.weights_path = other_path;
    o.checkpoint_path = checkpoint_path;
    o.resume = true;
    check_pieces(&w, o);
    unlink(checkpoint_path);
    close_world(&w);
  }
}

static double difference_of(const char *a, const char *b) {
  wml_weights x, y;
  double worst = INFINITY;
  if (wml_weights_read(a, &x) != WEBML_OK) return worst;
  if (wml_weights_read(b, &y) == WEBML_OK) {
    worst = 0.0;
    for (int i = 0; i < x.file.n; i++) {
      const wml_named_tensor *t = &x.file.tensors[i], *u = wml_safetensors_find(&y.file, t->name);
      worst = fmax(worst, test_difference(t->data, u->data, wml_named_elements(t)));
    }
    wml_weights_free(&y);
  }
  wml_weights_free(&x);
  return worst;
}

/* Four steps of 16 rows are one of 64, here with the momentum and the clipping of the mean. */
static void test_accumulation(void) {
  static const char *const optimizers[] = {
      "{\"name\":\"sgd\",\"momentum\":0.9,\"global_clipnorm\":0.05}",
      "{\"name\":\"sgd\",\"momentum\":0.9,\"global_clipnorm\":0.05,"
      "\"gradient_accumulation_steps\":4}"};
  for (int i = 0; i < 2; i++) {
    char model[1024];
    world w;
    counter c = {0};
    accumulating_model(model, sizeof model, optimizers[i]);
    CHECK_OK(open_world(&w, model, csv_path, 0.2));
    CHECK_OK(train(&w,
                   (webml_train_options){.epochs = 3,
                                         .batch_size = i ? 16 : 64,
                                         .learning_rate = 0.1,
                                         .no_shuffle = true,
                                         .keep_last = true,
                                         .weights_path = i ? other_path : weights_path},
                   &c, NULL));
    close_world(&w);
  }
  double d = difference_of(weights_path, other_path);
  CHECKF(d < 1e-5, "accumulated gradients give weights that differ by %g", d);
}

static void test_callbacks(void) {
  world w;
  counter c = {0};
  char *record = NULL;
  CHECK_OK(open_world(&w, mlp, csv_path, 0.25));
  CHECK_OK(train(&w,
                 (webml_train_options){.epochs = 50,
                                       .batch_size = 30,
                                       .learning_rate = 1e-12,
                                       .early_stopping_patience = 3,
                                       .min_delta = 0.5},
                 &c, &record));
  CHECK(record && strstr(record, "\"epochs\":4,")); /* the first is an improvement, three are not */
  webml_free(record);
  CHECK_STATUS(WEBML_ERROR_ARGUMENT,
               train(&w, (webml_train_options){.monitor = "val_los"}, &c, NULL));
  CHECK_ERROR("did you mean \"val_loss\"?");
  CHECK_OK(train(
      &w,
      (webml_train_options){.epochs = 2, .balance_classes = true, .initial_weights = weights_path},
      &c, NULL));
  double weights[] = {1, 2};
  CHECK_STATUS(
      WEBML_ERROR_ARGUMENT,
      train(&w, (webml_train_options){.class_weights = weights, .n_class_weights = 2}, &c, NULL));
  CHECK_ERROR("2 class weights for 4 classes");
  CHECK_STATUS(
      WEBML_ERROR_IO,
      train(&w, (webml_train_options){.epochs = 1, .weights_path = "/nonexistent/w.safetensors"},
            &c, NULL));
  close_world(&w);
}

/* With a momentum of 0 the averages are the last weights; with 1 they stay the first step's. */
static void test_averages(void) {
  static const char *const optimizers[] = {
      "{\"name\":\"adam\"}", "{\"name\":\"adam\",\"use_ema\":true,\"ema_momentum\":0}",
      "{\"name\":\"adam\",\"use_ema\":true,\"ema_momentum\":1}"};
  for (int i = 0; i < 3; i++) {
    char model[1024];
    world w;
    counter c = {0};
    snprintf(model, sizeof model,
             "{\"size\":[null],\"dynamic\":true,\"optimizer\":%s,\"loss\":null,\"layers\":[{"
             "\"type\":\"Dense\",\"layer\":{\"units\":6,\"activation\":\"relu\"}},"
             "{\"type\":\"Dense\",\"layer\":{\"units\":null,\"activation\":\"softmax\"}}]}",
             optimizers[i]);
    CHECK_OK(open_world(&w, model, csv_path, 0.25));
    CHECK_OK(train(&w,
                   (webml_train_options){.epochs = 2,
                                         .keep_last = true,
                                         .weights_path = i ? other_path : weights_path},
                   &c, NULL));
    if (i) CHECK(same_tensors(weights_path, other_path) == (i == 1));
    close_world(&w);
  }
}

/* The series of losses and metrics of a training with these options on a dense layer and on a
 * normalisation. */
static char *history_of(const char *dense, const char *norm) {
  char model[1024], *record = NULL;
  world w;
  counter c = {0};
  snprintf(model, sizeof model,
           "{\"size\":[null],\"dynamic\":true,\"optimizer\":\"adam\",\"loss\":null,\"layers\":[{"
           "\"type\":\"Dense\",\"layer\":{\"units\":6,\"activation\":\"tanh\"%s}},"
           "{\"type\":\"BatchNormalization\",\"layer\":{\"epsilon\":0.01%s}},"
           "{\"type\":\"Dense\",\"layer\":{\"units\":null,\"activation\":\"softmax\"}}]}",
           dense, norm);
  CHECK_OK(open_world(&w, model, csv_path, 0.25));
  CHECK_OK(
      train(&w, (webml_train_options){.epochs = 3, .weights_path = weights_path}, &c, &record));
  close_world(&w);
  const char *history = record ? strstr(record, "\"history\"") : NULL;
  CHECK(history && strstr(history, "\"val_loss\""));
  char *seconds = history ? strstr(history, "\"seconds\"") : NULL;
  if (!seconds) return record;
  *seconds = '\0'; /* which differ */
  memmove(record, history, strlen(history) + 1);
  return record;
}

/* Keras 3 collects the penalties of trainable weights: those of a frozen layer are in neither the
 * loss of the training nor that of the validation. */
static void test_frozen_regularizer(void) {
#define FROZEN ",\"trainable\":false"
#define PENALTY(weights) ",\"" weights "_regularizer\":{\"l1\":0.5,\"l2\":0.5}"
  char *plain = history_of("", ""), *trained = history_of(PENALTY("kernel"), PENALTY("gamma"));
  char *frozen = history_of(FROZEN, FROZEN),
       *both = history_of(FROZEN PENALTY("kernel"), FROZEN PENALTY("gamma"));
  CHECK(plain && trained && strcmp(plain, trained) != 0);
  CHECKF(frozen && both && strcmp(frozen, both) == 0, "%s, without penalty %s", both, frozen);
  webml_free(plain);
  webml_free(trained);
  webml_free(frozen);
  webml_free(both);
}

/* A rate that makes the loss overflow: the step is named, weights are kept. */
static void test_not_finite(void) {
  static const char regression[] =
      "{\"size\":[null],\"dynamic\":true,\"optimizer\":\"sgd\",\"loss\":\"mse\",\"layers\":[{"
      "\"type\":\"Dense\",\"layer\":{\"units\":8,\"activation\":\"relu\"}},"
      "{\"type\":\"Dense\",\"layer\":{\"units\":null}}]}";
  world w;
  counter c = {0};
  CHECK_OK(open_world(&w, regression, csv_path, 0.25));
  unlink(weights_path);
  CHECK_STATUS(
      WEBML_ERROR_NOT_FINITE,
      train(&w,
            (webml_train_options){
                .epochs = 9, .batch_size = 500, .learning_rate = 1e4, .weights_path = weights_path},
            &c, NULL));
  CHECK_ERROR("not finite in step");
  wml_weights kept;
  if (access(weights_path, F_OK) == 0) {
    CHECK_OK(wml_weights_read(weights_path, &kept));
    bool finite = true;
    for (int i = 0; i < kept.file.n; i++)
      for (int64_t k = 0; k < wml_named_elements(&kept.file.tensors[i]); k++)
        finite &= isfinite(kept.file.tensors[i].data[k]);
    CHECK(finite);
    wml_weights_free(&kept);
  }
  close_world(&w);
}

static webml_status small_table_life(void) {
  world w;
  counter c = {0};
  char *json = NULL;
  webml_predictor *p = NULL;
  webml_status status = open_world(&w, mlp, csv_path, 0.25);
  if (status == WEBML_OK)
    status = train(
        &w,
        (webml_train_options){
            .epochs = 1, .batch_size = 100, .weights_path = weights_path, .progress_detail = true},
        &c, NULL);
  if (status == WEBML_OK) status = webml_predictor_load(weights_path, w.device, 4, &p);
  if (status == WEBML_OK)
    status = webml_predictor_row(p, "{\"x\":0.4,\"y\":0.4,\"colour\":\"red\"}", &json);
  webml_free(json);
  webml_predictor_destroy(p);
  close_world(&w);
  return status;
}

static const char cnn[] =
    "{\"size\":[8,8,3],\"dynamic\":true,\"optimizer\":\"adam\",\"loss\":null,\"layers\":["
    "{\"type\":\"Conv2D\",\"layer\":{\"filters\":4,\"kernel_size\":3}},"
    "{\"type\":\"Conv2D\",\"layer\":{\"filters\":4,\"kernel_size\":2,\"groups\":2}},"
    "{\"type\":\"BatchNormalization\"},{\"type\":\"MaxPooling2D\"},{\"type\":\"Flatten\"},"
    "{\"type\":\"Dense\",\"layer\":{\"units\":null,\"activation\":\"softmax\"}}]}";

/* The same with pictures: PNG and JPEG decoding, convolutions, BatchNormalization folded. */
static webml_status image_life(webml_precision precision) {
  world w;
  counter c = {0};
  char *json = NULL;
  webml_predictor *p = NULL;
  webml_status status = open_world(&w, cnn, "tests/data/images", 0.34);
  if (status == WEBML_OK)
    status = train(
        &w,
        (webml_train_options){
            .epochs = 1, .batch_size = 3, .precision = precision, .weights_path = weights_path},
        &c, NULL);
  if (status == WEBML_OK) status = webml_predictor_load(weights_path, w.device, 2, &p);
  if (status == WEBML_OK) status = webml_predictor_image(p, "tests/data/images/plain/a.png", &json);
  webml_free(json);
  if (status == WEBML_OK) status = webml_predictor_evaluate(p, w.dataset, WEBML_PART_AUTO, &json);
  if (status == WEBML_OK) webml_free(json);
  webml_predictor_destroy(p);
  close_world(&w);
  return status;
}

static webml_status small_image_life(void) {
  return image_life(WEBML_FLOAT32);
}

static webml_status small_narrow_life(void) {
  return image_life(WEBML_MIXED_BFLOAT16);
}

/* From weights that the life before has left to a quantized prediction. */
static webml_status small_quantized_life(void) {
  char path[256], *json = NULL;
  snprintf(path, sizeof path, "%s.int8", weights_path);
  world w;
  webml_predictor *p = NULL;
  webml_status status = open_world(&w, cnn, "tests/data/images", 0.34);
  const webml_quantize_options o = {.struct_size = sizeof o, .samples = 4};
  if (status == WEBML_OK)
    status = webml_quantize(weights_path, w.dataset, w.device, &o, path, &json);
  webml_free(json);
  const webml_predictor_options int8 = {
      .struct_size = sizeof int8, .max_batch = 2, .precision = WEBML_INFERENCE_INT8};
  if (status == WEBML_OK) status = webml_predictor_create(path, w.device, &int8, &p);
  if (status == WEBML_OK) status = webml_predictor_image(p, "tests/data/images/plain/a.png", &json);
  if (status == WEBML_OK) webml_free(json);
  webml_predictor_destroy(p);
  close_world(&w);
  return status;
}

static void test_failing_allocations(webml_status (*small_life)(void)) {
  CHECK_OK(small_life());
  int64_t live = wml_alloc_live();
  int failures = 0;
  for (int64_t n = 1;; n++) {
    wml_alloc_fail_from(n);
    webml_status status = small_life();
    wml_alloc_fail_from(0);
    CHECKF(wml_alloc_live() == live, "allocation %lld failing leaks %lld blocks", (long long)n,
           (long long)(wml_alloc_live() - live));
    if (status == WEBML_OK) break;
    failures++;
    CHECKF(status == WEBML_ERROR_MEMORY, "allocation %lld: %s: %s", (long long)n,
           webml_status_name(status), webml_last_error());
    if (test_failures > 20) break;
  }
  printf("%d allocations failed in turn\n", failures);
  CHECK(failures > 100);
}

int main(void) {
  if (!mkdtemp(folder)) return 1;
  snprintf(csv_path, sizeof csv_path, "%s/table.csv", folder);
  snprintf(weights_path, sizeof weights_path, "%s/a.safetensors", folder);
  snprintf(other_path, sizeof other_path, "%s/b.safetensors", folder);
  snprintf(checkpoint_path, sizeof checkpoint_path, "%s/b.checkpoint", folder);
  write_table(csv_path, 400, NULL);
  test_learning();
  test_resume();
  test_resumed_optimizers();
  test_accumulation();
  test_callbacks();
  test_averages();
  test_frozen_regularizer();
  test_not_finite();
  test_failing_allocations(small_table_life);
  test_failing_allocations(small_image_life);
  test_failing_allocations(small_quantized_life);
  if (small_narrow_life() == WEBML_ERROR_UNSUPPORTED)
    test_skip("failing allocations in bfloat16", webml_last_error());
  else
    test_failing_allocations(small_narrow_life);
  char command[128];
  snprintf(command, sizeof command, "rm -r %s", folder);
  return test_report() | (system(command) ? 1 : 0);
}
