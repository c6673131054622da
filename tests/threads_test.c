/* What may be used by several threads at once, for ThreadSanitizer: predictors on one device, a
 * training that is cancelled from another thread, models and data sets that are shared. */
#include "support.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static char folder[] = "/tmp/webml-threads-XXXXXX";
static char csv_path[64], weights_path[64];
static webml_device *device;
static webml_model *model;
static webml_dataset *dataset;

static void write_table(void) {
  FILE *f = fopen(csv_path, "w");
  test_random r = {9};
  fprintf(f, "a,b,c,label\n");
  for (int i = 0; i < 300; i++) {
    double a = test_uniform(&r), b = test_uniform(&r);
    fprintf(f, "%.4f,%.4f,%.4f,%s\n", a, b, test_uniform(&r), a > b ? "more" : "less");
  }
  fclose(f);
}

static void *predict(void *arg) {
  webml_predictor *p = arg;
  float x[8 * 3] = {0.5f, 0.2f}, y[8 * 2];
  for (int i = 0; i < 200; i++) {
    CHECK(webml_predictor_run(p, x, 1 + i % 8, y) == WEBML_OK);
    char *json = NULL;
    CHECK(webml_predictor_row(p, "{\"a\":1,\"b\":0,\"c\":0.5}", &json) == WEBML_OK);
    webml_free(json);
    CHECK(webml_predictor_row(p, "{\"a\":1}", &json) == WEBML_ERROR_DATA &&
          strstr(webml_last_error(), "column")); /* per thread */
  }
  return NULL;
}

static void *train(void *arg) {
  webml_trainer *t = NULL;
  webml_train_options o = {
      .struct_size = sizeof o, .epochs = 40, .batch_size = 32, .seed = (uint64_t)(uintptr_t)arg};
  CHECK(webml_trainer_create(model, dataset, device, &o, &t) == WEBML_OK);
  if (t) CHECK(webml_trainer_run(t) == WEBML_OK);
  webml_trainer_destroy(t);
  return NULL;
}

static void *cancel(void *arg) {
  usleep(50000);
  webml_trainer_cancel(arg);
  return NULL;
}

static void test_cancel(void) {
  webml_trainer *t = NULL;
  pthread_t thread;
  webml_train_options o = {
      .struct_size = sizeof o, .epochs = 1000000, .batch_size = 1, .weights_path = weights_path};
  CHECK_OK(webml_trainer_create(model, dataset, device, &o, &t));
  pthread_create(&thread, NULL, cancel, t);
  CHECK_STATUS(WEBML_ERROR_CANCELLED, webml_trainer_run(t));
  CHECK_ERROR("resume from");
  pthread_join(thread, NULL);
  webml_trainer_destroy(t);
}

/* A forked child has no executor thread: it gets an error, not a hang. */
static void test_fork(void) {
  pid_t pid = fork();
  if (pid == 0) {
    webml_trainer *t = NULL;
    webml_train_options o = {.struct_size = sizeof o, .epochs = 1};
    webml_status status = webml_trainer_create(model, dataset, device, &o, &t);
    _exit(status == WEBML_ERROR_DEVICE && strstr(webml_last_error(), "forked") ? 0 : 1);
  }
  int status = 0;
  waitpid(pid, &status, 0);
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

int main(void) {
  static const char mlp[] =
      "{\"size\":[null],\"dynamic\":true,\"optimizer\":\"adam\",\"loss\":null,\"layers\":[{"
      "\"type\":\"Dense\",\"layer\":{\"units\":16,\"activation\":\"relu\"}},"
      "{\"type\":\"Dense\",\"layer\":{\"units\":null,\"activation\":\"softmax\"}}]}";
  webml_model *open = NULL;
  if (!mkdtemp(folder)) return 1;
  snprintf(csv_path, sizeof csv_path, "%s/t.csv", folder);
  snprintf(weights_path, sizeof weights_path, "%s/w.safetensors", folder);
  write_table();
  CHECK_OK(webml_device_open("cpu", 2, &device));
  CHECK_OK(webml_model_parse(mlp, strlen(mlp), &open));
  CHECK_OK(webml_dataset_open(csv_path, NULL, &dataset));
  CHECK_OK(webml_model_shape_to(open, dataset, &model, NULL));
  test_cancel();
  webml_trainer *t = NULL;
  webml_train_options o = {.struct_size = sizeof o, .epochs = 2, .weights_path = weights_path};
  CHECK_OK(webml_trainer_create(model, dataset, device, &o, &t));
  CHECK_OK(webml_trainer_run(t));
  webml_trainer_destroy(t);
  webml_predictor *p = NULL;
  CHECK_OK(webml_predictor_load(weights_path, device, 8, &p));
  pthread_t threads[6];
  for (uintptr_t i = 0; i < 6; i++)
    pthread_create(&threads[i], NULL, i < 4 ? predict : train, i < 4 ? (void *)p : (void *)i);
  for (int i = 0; i < 6; i++) pthread_join(threads[i], NULL);
  webml_predictor_destroy(p);
#ifndef __SANITIZE_THREAD__ /* which does not follow forks of threaded programs */
  test_fork();
#endif
  webml_model_destroy(open);
  webml_model_destroy(model);
  webml_dataset_destroy(dataset);
  webml_device_destroy(device);
  char command[128];
  snprintf(command, sizeof command, "rm -r %s", folder);
  return test_report() | (system(command) ? 1 : 0);
}
