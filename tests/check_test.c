/* webml_model_check() and its neighbours from C: arguments, memory that is short, descriptions that
 * are damaged anywhere, and the speed of a device. */
#include "base/alloc.h"
#include "base/json.h"
#include "support.h"

#include <string.h>

static const char sound[] =
    "{\"name\":\"a\",\"size\":[12,12,3],\"optimizer\":{\"name\":\"adam\",\"beta_1\":0.8},\"loss\":{"
    "\"name\":\"categorical_crossentropy\",\"label_smoothing\":0.1},\"metrics\":[\"accuracy\",{"
    "\"name\":\"top_k_categorical_accuracy\",\"k\":2}],\"layers\":[{\"type\":\"Conv2D\",\"layer\":{"
    "\"filters\":4,\"kernel_size\":[3,3],\"activation\":{\"name\":\"relu\",\"max_value\":6},"
    "\"kernel_initializer\":\"he_normal\",\"kernel_regularizer\":{\"l2\":0.01}}},{\"type\":"
    "\"MaxPooling2D\"},{\"type\":\"BatchNormalization\"},{\"type\":\"Flatten\"},{\"type\":"
    "\"Dropout\",\"layer\":{\"rate\":0.5}},{\"type\":\"Dense\",\"layer\":{\"units\":4,"
    "\"activation\":\"softmax\"}}]}";
static const char broken[] =
    "{\"size\":[12,12,3],\"optimzer\":\"adm\",\"loss\":\"mse\",\"layers\":[{\"type\":\"Conv2D\","
    "\"layer\":{\"filters\":0}},{\"type\":\"Conv\"},{\"type\":\"Dense\",\"layer\":{\"units\":4,"
    "\"activation\":\"softmx\"}}]}";
static const char properties[] =
    "{\"format\":\"images\",\"classes\":[\"a\",\"b\",\"c\",\"d\"],\"training\":70,"
    "\"validation\":9}";
static const char table[] =
    "{\"format\":\"csvdata\",\"rows\":9,\"features\":[{\"feature\":\"x\",\"dataType\":\"Float\","
    "\"uniqueValues\":9,\"blocked\":false},{\"feature\":\"y\",\"dataType\":\"Label\","
    "\"uniqueValues\":3,\"blocked\":false}]}";

static webml_device *cpu;

static webml_status check(const char *json, const webml_check_options *o, char **answer) {
  return webml_model_check(json, strlen(json), o, answer);
}

static void test_arguments(void) {
  char *answer = NULL;
  webml_speed speed;
  webml_check_options large = {.struct_size = sizeof large + 8},
                      negative = {.struct_size = sizeof negative, .samples = -1},
                      missing = {.struct_size = sizeof missing, .n_devices = 1},
                      odd = {.struct_size = sizeof odd, .properties = "{"},
                      sounds = {.struct_size = sizeof sounds, .properties = "{\"format\":\"x\"}"};
  CHECK_STATUS(WEBML_ERROR_ARGUMENT, webml_model_check(NULL, 0, NULL, &answer));
  CHECK_STATUS(WEBML_ERROR_ARGUMENT, webml_model_check(sound, sizeof sound, NULL, NULL));
  CHECK_STATUS(WEBML_ERROR_ARGUMENT, check(sound, &large, &answer));
  CHECK_STATUS(WEBML_ERROR_ARGUMENT, check(sound, &negative, &answer));
  CHECK_STATUS(WEBML_ERROR_ARGUMENT, check(sound, &missing, &answer));
  CHECK_STATUS(WEBML_ERROR_PARSE, check(sound, &odd, &answer));
  CHECK_STATUS(WEBML_ERROR_PARSE, check(sound, &sounds, &answer));
  CHECK_ERROR("\"format\" must be");
  CHECK_STATUS(WEBML_ERROR_ARGUMENT, webml_schema(NULL));
  CHECK_STATUS(WEBML_ERROR_ARGUMENT, webml_device_speed(NULL, WEBML_FLOAT32, &speed));
  CHECK_STATUS(WEBML_ERROR_ARGUMENT, webml_device_speed(cpu, (webml_precision)9, &speed));
  CHECK(answer == NULL);
  webml_trainer_stop(NULL);
}

static void test_speed(void) {
  webml_speed first, second;
  CHECK_OK(webml_device_speed(cpu, WEBML_FLOAT32, &first));
  CHECK_OK(webml_device_speed(cpu, WEBML_FLOAT32, &second));
  CHECK(memcmp(&first, &second, sizeof first) == 0);
  CHECKF(first.convolution > 1e8 && first.convolution < 1e15, "%g", first.convolution);
  CHECKF(first.first_convolution > 1e8 && first.dense > 1e8, "%g %g", first.first_convolution,
         first.dense);
  CHECKF(first.weights > 1e7 && first.bytes > 1e7, "%g %g", first.weights, first.bytes);
  CHECKF(first.operation > 0 && first.operation < 1e-2, "%g", first.operation);
}

/* Twice the speed halves the forecast, and nothing else decides it. */
static void test_forecast(void) {
  webml_speed slow = {1e9, 1e9, 1e9, 1e9, 1e9, 1e-5}, fast = {2e9, 2e9, 2e9, 2e9, 2e9, 5e-6};
  double high[2] = {0};
  for (int i = 0; i < 2; i++) {
    webml_check_device d = {"cpu", cpu, i ? &fast : &slow, 0};
    webml_check_options o = {
        .struct_size = sizeof o, .samples = 1000, .devices = &d, .n_devices = 1};
    wml_arena arena = {0};
    const wml_json *root = NULL;
    char *answer = NULL;
    CHECK_OK(check(sound, &o, &answer));
    CHECK_OK(wml_json_parse(&arena, answer, strlen(answer), "the answer", &root));
    const wml_json *device = wml_json_get(root, "devices")->first,
                   *seconds = wml_json_get(device, "seconds_per_epoch");
    high[i] = seconds->first->next->number;
    wml_arena_free(&arena);
    webml_free(answer);
  }
  CHECKF(high[0] > 0 && high[0] / high[1] > 1.999 && high[0] / high[1] < 2.001, "%g %g", high[0],
         high[1]);
}

/* ---- memory that is short ---- */

static webml_status check_sound(void) {
  static const webml_speed speed = {1e9, 1e9, 1e9, 1e9, 1e9, 1e-6};
  webml_check_device devices[] = {{"cpu", cpu, &speed, 0}, {"cuda:0", NULL, NULL, 1}};
  webml_check_options o = {
      .struct_size = sizeof o, .properties = properties, .devices = devices, .n_devices = 2};
  char *answer = NULL;
  webml_status status = check(sound, &o, &answer);
  webml_free(answer);
  return status;
}

static webml_status check_broken(void) {
  webml_check_options o = {.struct_size = sizeof o, .properties = table};
  char *answer = NULL;
  webml_status status = check(broken, &o, &answer);
  webml_free(answer);
  return status;
}

static webml_status ask_schema(void) {
  char *answer = NULL;
  webml_status status = webml_schema(&answer);
  webml_free(answer);
  return status;
}

static webml_status parse_broken(void) {
  webml_model *m = NULL;
  webml_status status = webml_model_parse(broken, strlen(broken), &m);
  return status == WEBML_ERROR_MODEL ? WEBML_OK : status;
}

static void fail_each(const char *what, webml_status (*call)(void), int least) {
  CHECK_OK(call());
  int64_t live = wml_alloc_live();
  int failures = 0;
  for (int64_t n = 1;; n++) {
    wml_alloc_fail_from(n);
    webml_status status = call();
    wml_alloc_fail_from(0);
    CHECKF(wml_alloc_live() == live, "%s: allocation %lld failing leaks %lld blocks", what,
           (long long)n, (long long)(wml_alloc_live() - live));
    if (status == WEBML_OK || test_failures > 20) break;
    failures++;
    CHECKF(status == WEBML_ERROR_MEMORY, "%s: allocation %lld: %s: %s", what, (long long)n,
           webml_status_name(status), webml_last_error());
  }
  CHECKF(failures >= least, "%s: %d allocations failed in turn", what, failures);
}

/* ---- damaged descriptions ---- */

/* The answer is sound JSON, and says "valid" of what a training would take only. */
static void check_damaged(const char *text, size_t length) {
  wml_arena arena = {0};
  const wml_json *root = NULL;
  char *answer = NULL;
  webml_model *model = NULL;
  webml_check_options o = {.struct_size = sizeof o, .properties = properties};
  CHECK_OK(webml_model_check(text, length, &o, &answer));
  if (!answer) return;
  CHECK_OK(wml_json_parse(&arena, answer, strlen(answer), "the answer", &root));
  bool valid = wml_json_get_bool(root, "valid", false),
       parses = webml_model_parse(text, length, &model) == WEBML_OK;
  const wml_json *errors = wml_json_get(root, "errors");
  CHECKF(valid == (errors->count == 0), "%.*s: %s", (int)length, text, answer);
  CHECKF(parses || !valid, "%.*s: %s", (int)length, text, webml_last_error());
  webml_model_destroy(model);
  webml_free(answer);
  wml_arena_free(&arena);
}

static void test_damage(void) {
  static const char *const pieces[] = {"null", "-1", "1e9", "\"x\"", "[]",   "{}", "true",
                                       "\"",   ",",  "[",   "}",     "1e99", "\\", "[1,2,3]"};
  char text[2 * sizeof sound];
  size_t n = strlen(sound);
  test_random r = {11};
  static const char nowhere[] = /* an output that there is not, of a picture */
      "{\"size\":[5,5,1],\"layers\":[{\"type\":\"Flatten\"}],\"outputs\":[\"no\"]}";
  static const char twice[] =
      "{\"size\":[3],\"layers\":[{\"type\":\"Dense\",\"layer\":{\"units\":2}}],"
      "\"outputs\":[\"dense\",\"dense\"]}";
  check_damaged(nowhere, strlen(nowhere));
  check_damaged(twice, strlen(twice));
  for (size_t end = 0; end <= n; end += 7) check_damaged(sound, end); /* as it is typed */
  for (int i = 0; i < 3000; i++) {
    size_t from = (size_t)(test_uniform(&r) * (double)n),
           to = from + (size_t)(test_uniform(&r) * 12.0);
    const char *piece = pieces[(size_t)(test_uniform(&r) * 14.0)];
    if (to > n) to = n;
    int length = snprintf(text, sizeof text, "%.*s%s%s", (int)from, sound, piece, sound + to);
    check_damaged(text, (size_t)length);
  }
}

int main(void) {
  CHECK_OK(webml_device_open("cpu", 2, &cpu));
  if (!cpu) return 1;
  test_arguments();
  test_speed();
  test_forecast();
  test_damage();
  fail_each("a sound description", check_sound, 40);
  fail_each("a broken description", check_broken, 15);
  fail_each("parsing a broken description", parse_broken, 3);
  fail_each("the schema", ask_schema, 3);
  webml_device_destroy(cpu);
  return test_report();
}
