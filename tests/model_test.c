/* JSON and model descriptions: the dissertation's example, Keras's options, errors with paths. */
#include "base/json.h"
#include "model/model.h"
#include "support.h"

#include <stdlib.h>
#include <string.h>

static webml_status parse_json(const char *text) {
  wml_arena arena = {0};
  const wml_json *root;
  webml_status status = wml_json_parse(&arena, text, strlen(text), "text", &root);
  wml_arena_free(&arena);
  return status;
}

static void test_json(void) {
  CHECK_OK(parse_json("{\"a\":[1,2.5,-3e2,true,null,\"x\\u00e9\\ud83d\\ude00\"],\"b\":{},}"));
  CHECK_OK(
      parse_json("{\"_id\" : ObjectId(\"5f\"), \"at\": ISODate(\"2020\"), \"n\": NumberLong(5)}"));
  static const struct {
    const char *text, *error;
  } bad[] = {{"", "ends where a value"},
             {"{\"a\":1", "expected , or }"},
             {"[1 2]", "expected , or ]"},
             {"{a:1}", "key in double quotes"},
             {"\"\x01\"", "control character"},
             {"\"\xff\"", "not UTF-8"},
             {"\"\\ud800\"", "surrogate"},
             {"\"\\u0000\"", "u0000"},
             {"01", "not a number"},
             {"1.", "not a number"},
             {"-", "not a number"},
             {"{\"a\":1,\"a\":2}", "stands twice"},
             {"[1] 2", "after the end"},
             {"\"abc", "not closed"},
             {"nul", "expected a value"},
             {"{\"a\":\n\n}", "line 3"}};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    CHECK_STATUS(WEBML_ERROR_PARSE, parse_json(bad[i].text));
    CHECK_ERROR(bad[i].error);
  }
  char deep[400];
  memset(deep, '[', sizeof deep - 1);
  deep[sizeof deep - 1] = '\0';
  CHECK_STATUS(WEBML_ERROR_PARSE, parse_json(deep));
  CHECK_ERROR("64 deep");
  memset(deep, 'A', sizeof deep - 1);
  for (size_t i = 1; i < sizeof deep - 1; i += 2) deep[i] = '(';
  CHECK_STATUS(WEBML_ERROR_PARSE, parse_json(deep));
}

static void test_numbers(void) {
  static const struct {
    const char *text;
    double value;
  } good[] = {{"3", 3},
              {"+5", 5},
              {"-0.1", -0.1},
              {"1e-3", 1e-3},
              {".5", 0.5},
              {"2.", 2},
              {"123456789012345678", 123456789012345678.0},
              {"0.1234567890123456789", 0.1234567890123456789},
              {"1E5", 1e5}};
  for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
    double value = -1;
    CHECKF(wml_parse_number(good[i].text, strlen(good[i].text), &value) && value == good[i].value,
           "%s", good[i].text);
  }
  static const char *const bad[] = {"",    ".",   "e5", "1e",  "0x10", "nan",
                                    "inf", "1,5", "1 ", "--1", "1e+"};
  double value;
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
    CHECKF(!wml_parse_number(bad[i], strlen(bad[i]), &value), "%s", bad[i]);
  char buffer[WML_NUMBER_BYTES];
  CHECK(strcmp(wml_format_number(0.1, buffer), "0.1") == 0);
  test_random r = {5};
  for (int i = 0; i < 1000; i++) { /* what is written reads back as the same double */
    double x = (test_uniform(&r) - 0.5) * 1e6, back;
    wml_format_number(x, buffer);
    CHECK(wml_parse_number(buffer, strlen(buffer), &back) && back == x);
  }
}

static webml_model *load(const char *json) {
  webml_model *m = NULL;
  CHECK_OK(webml_model_parse(json, strlen(json), &m));
  return m;
}

static void test_dissertation(void) {
  webml_model *m = NULL;
  CHECK_OK(webml_model_load("tests/data/code22.json", &m));
  if (!m) return;
  CHECK(strcmp(m->name, "miniVGG-traffic") == 0 && m->n_layers == 6 &&
        m->format == WML_FORMAT_IMAGES);
  const int *kernel = wml_layer_option(&m->layers[0], "kernel_size");
  CHECK(kernel[0] == 3 && kernel[1] == 3);
  CHECK(*(int *)wml_layer_option(&m->layers[4], "units") == 256 &&
        m->layers[4].params[0].dim[0] == 28800);
  wml_shape out = wml_model_output_shape(m);
  CHECK(out.rank == 1 && out.dim[0] == 43);
  char *summary = NULL;
  CHECK_OK(webml_model_summary(m, &summary));
  CHECK(summary && strstr(summary, "\"parameters\":7394123,"));
  webml_free(summary);
  /* Its normal form parses to the same normal form. */
  char *first = NULL, *second = NULL;
  CHECK_OK(webml_model_to_json(m, &first));
  webml_model *again = load(first);
  CHECK_OK(webml_model_to_json(again, &second));
  CHECK(strcmp(first, second) == 0);
  webml_free(first);
  webml_free(second);
  webml_model_destroy(again);
  webml_model_destroy(m);
}

/* (n, k, s, d) -> (out, before, after), from TensorFlow's own tests and the closed formula. */
static void test_same_padding(void) {
  static const int rows[][7] = {{5, 2, 1, 1, 5, 0, 1},   {5, 2, 2, 1, 3, 0, 1},
                                {6, 3, 2, 1, 3, 0, 1},   {5, 3, 2, 1, 3, 1, 1},
                                {7, 4, 2, 1, 4, 1, 2},   {10, 5, 3, 1, 4, 2, 2},
                                {28, 3, 2, 1, 14, 0, 1}, {224, 7, 2, 1, 112, 2, 3},
                                {3, 2, 3, 1, 1, 0, 0},   {4, 3, 1, 2, 4, 2, 2}};
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    int before, after;
    const int *r = rows[i];
    CHECK(wml_window_output(r[0], r[1], r[2], r[3], WML_PADDING_SAME) == r[4]);
    wml_window_pads(r[0], r[1], r[2], r[3], WML_PADDING_SAME, &before, &after);
    CHECKF(before == r[5] && after == r[6], "row %zu: %d %d", i, before, after);
  }
}

static void test_options(void) {
  webml_model *m =
      load("{\"size\":[9,9,4],\"optimizer\":{\"name\":\"SGD\",\"momentum\":\"0.9\",\"nesterov\":"
           "true,\"clipnorm\":1},\"loss\":{\"name\":\"huber\",\"delta\":2},"
           "\"metrics\":[\"acc\",\"mae\"],\"layers\":[{\"type\":\"Conv2D\",\"layer\":{\"filters\":"
           "\"8\",\"kernel_size\":[3,\"2\"],\"strides\":2,\"groups\":2,"
           "\"padding\":\"same\",\"kernel_initializer\":\"HeNormal\",\"kernel_regularizer\":{"
           "\"l1\":0.1,\"l2\":0.2},\"activation\":{\"name\":\"relu\",\"max_value\":6},"
           "\"name\":\"first\"}},{\"type\":\"Flatten\"},{\"type\":\"Dense\",\"layer\":{\"units\":2,"
           "\"activation\":\"swish\"}}]}");
  if (!m) return;
  CHECK(m->optimizer.kind == WML_SGD && m->optimizer.momentum == 0.9f && m->optimizer.nesterov &&
        m->optimizer.clipnorm == 1.0f);
  const wml_model_output *out = &m->outputs[0];
  CHECK(out->loss.kind == WML_HUBER && out->loss.delta == 2.0f && out->n_metrics == 2 &&
        strcmp(out->metrics[0].name, "acc") == 0);
  const wml_layer *c = &m->layers[0];
  CHECK(((int *)wml_layer_option(c, "kernel_size"))[1] == 2 &&
        *(int *)wml_layer_option(c, "strides") == 2 && *(int *)wml_layer_option(c, "groups") == 2 &&
        wml_layer_activation(c).max_value == 6.0f);
  CHECK(c->params[0].regularizer.l2 == 0.2f && c->params[0].initializer.a == 2.0f &&
        strcmp(c->params[0].name, "first/kernel") == 0);
  CHECK(wml_layer_activation(&m->layers[2]).kind == WML_SILU);
  webml_model_destroy(m);
  m = load(
      "{\"size\":[null],\"dynamic\":true,\"optimizer\":null,\"loss\":null,\"layers\":[{\"type\":"
      "\"Dense\",\"layer\":{\"units\":4}},{\"type\":\"Dense\",\"layer\":{\"units\":null}}]}");
  CHECK(m && webml_model_is_dynamic(m) && m->outputs[0].loss_open && m->optimizer_open);
  webml_model_destroy(m);
}

static void test_errors(void) {
  webml_model *m = NULL;
  const char *json =
      "{\"size\":[4,4,3],\"optimiser\":\"adam\",\"loss\":\"categorical_crosentropy\",\"layers\":["
      "{\"type\":\"Conv2D\",\"layer\":{\"filters\":0,\"kernel_size\":3,\"strid\":2}},{\"type\":"
      "\"Conv2d\",\"layer\":{}},"
      "{\"type\":\"Dense\",\"layer\":{\"units\":2.5,\"activation\":\"rellu\"}},{\"type\":"
      "\"Dropout\",\"layer\":{\"rate\":1.5}}]}";
  CHECK_STATUS(WEBML_ERROR_MODEL, webml_model_parse(json, strlen(json), &m));
  CHECK_ERROR("optimiser: unknown key, did you mean \"optimizer\"?");
  CHECK_ERROR(
      "loss: unknown name \"categorical_crosentropy\", did you mean \"categorical_crossentropy\"?");
  CHECK_ERROR("layers[0].layer.filters: 0 is out of range, must be 1 to 4096");
  CHECK_ERROR("layers[0].layer.strid: unknown key, did you mean \"strides\"?");
  CHECK_ERROR("layers[1].type: unknown layer \"Conv2d\", did you mean \"Conv2D\"?");
  CHECK_ERROR("layers[2].layer.units: must be a whole number");
  CHECK_ERROR("layers[2].layer.activation: unknown activation \"rellu\", did you mean \"relu\"?");
  CHECK_ERROR("layers[3].layer.rate: 1.5 is out of range, must be 0 to 1");
  json = "{\"size\":[4,4,3],\"optimizer\":\"adam\",\"loss\":\"mse\",\"layers\":[{\"type\":"
         "\"Conv2D\",\"layer\":{\"filters\":2,\"kernel_size\":5}}]}";
  CHECK_STATUS(WEBML_ERROR_MODEL, webml_model_parse(json, strlen(json), &m));
  CHECK_ERROR("layers[0] (Conv2D): kernel 5x5 exceeds the 4x4 input");
  json = "{\"size\":[7],\"optimizer\":\"adam\",\"loss\":\"mse\",\"layers\":[{\"type\":\"Conv2D\","
         "\"layer\":{\"filters\":2,\"kernel_size\":5}}]}";
  CHECK_STATUS(WEBML_ERROR_MODEL, webml_model_parse(json, strlen(json), &m));
  CHECK_ERROR("takes an image");
  json = "{\"size\":[65536,65536,1024],\"optimizer\":\"adam\",\"loss\":\"mse\",\"layers\":[{"
         "\"type\":\"Flatten\"},{\"type\":\"Dense\",\"layer\":{\"units\":16777216}}]}";
  CHECK_STATUS(WEBML_ERROR_MODEL, webml_model_parse(json, strlen(json), &m));
  CHECK_ERROR("too large");
  json = "{\"size\":[5],\"optimizer\":{\"name\":\"adam\",\"momentum\":1,\"clipnorm\":1,"
         "\"clipvalue\":1},\"loss\":\"mse\",\"layers\":[]}";
  CHECK_STATUS(WEBML_ERROR_MODEL, webml_model_parse(json, strlen(json), &m));
  CHECK_ERROR("optimizer.momentum: unknown key");
  CHECK_ERROR("only one of clipnorm");
  CHECK_ERROR("layers: must be a list of at least one layer");
  json = "{\"size\":[5],\"optimizer\":\"adam\",\"loss\":\"mse\",\"layers\":[{\"type\":\"Dense\","
         "\"layer\":{\"units\":2,\"activation\":{\"name\":\"celu\",\"alpha\":0}}}]}";
  CHECK_STATUS(WEBML_ERROR_MODEL, webml_model_parse(json, strlen(json), &m));
  CHECK_ERROR("layers[0].layer.activation: celu divides by its alpha, which must not be 0");
  CHECK_STATUS(WEBML_ERROR_IO, webml_model_load("tests/data/absent.json", &m));
  CHECK_ERROR("absent.json");
  CHECK_STATUS(WEBML_ERROR_ARGUMENT, webml_model_parse(NULL, 0, &m));
  webml_model_destroy(NULL);
}

/* Options are written as they were read, and wrong ones are told. */
static void test_values(void) {
  webml_model *m =
      load("{\"size\":[4],\"optimizer\":\"adam\",\"loss\":\"mse\",\"layers\":[{\"type\":"
           "\"Dense\",\"layer\":{\"units\":2,\"kernel_initializer\":{\"name\":"
           "\"glorot_uniform\",\"scale\":3},\"activation\":{\"class_name\":\"leaky_relu\","
           "\"config\":{\"name\":\"x\",\"alpha\":0.3}}}}]}");
  char *text = NULL;
  CHECK_OK(webml_model_to_json(m, &text));
  webml_model_destroy(m);
  m = load(text);
  CHECKF(m->layers[0].params[0].initializer.a == 3.0f, "%s", text);
  CHECKF(wml_layer_activation(&m->layers[0]).alpha == 0.3f, "%s", text);
  webml_free(text);
  webml_model_destroy(m);
  m = load("{\"size\":[4],\"optimizer\":\"adam\",\"loss\":\"mse\",\"layers\":[{\"type\":\"Dense\","
           "\"layer\":{\"units\":2,\"learning_rate_multiplier\":0.5,\"bias_constraint\":\"NonNeg\","
           "\"kernel_constraint\":{\"class_name\":\"MinMaxNorm\",\"config\":{\"max_value\":3,"
           "\"axis\":[0,1]}}}}]}");
  CHECK_OK(webml_model_to_json(m, &text));
  webml_model_destroy(m);
  m = load(text);
  wml_constraint norm = m->layers[0].params[0].constraint;
  CHECKF(norm.kind == WML_MIN_MAX_NORM && norm.max_value == 3.0f && norm.min_value == 0.0f &&
             norm.rate == 1.0f && norm.axes == 3,
         "%s", text);
  CHECKF(m->layers[0].params[1].constraint.kind == WML_NON_NEG &&
             m->layers[0].learning_rate_multiplier == 0.5f,
         "%s", text);
  webml_free(text);
  webml_model_destroy(m);
  const char *flat =
      "{\"size\":[4],\"optimizer\":\"adam\",\"loss\":\"mse\",\"layers\":[{\"type\":\"Dense\","
      "\"layer\":{\"units\":2,\"kernel_constraint\":{\"name\":\"max_norm\",\"axis\":2}}}]}";
  CHECK_STATUS(WEBML_ERROR_MODEL, webml_model_parse(flat, strlen(flat), &m));
  CHECK_ERROR("a constraint's axis is outside of dense/kernel, whose axes are 0 to 1");
  const char *json =
      "{\"size\":[4],\"optimizer\":\"adam\",\"loss\":{\"name\":\"huber\",\"delta\":-1},\"layers\":["
      "{"
      "\"type\":\"Dense\",\"layer\":{\"units\":2,\"kernel_regularizer\":{\"l1\":\"x\"},"
      "\"bias_initializer\":{\"name\":\"constant\",\"val\":1}}}]}";
  m = NULL;
  CHECK_STATUS(WEBML_ERROR_MODEL, webml_model_parse(json, strlen(json), &m));
  CHECK_ERROR("loss.delta: -1 is out of range");
  CHECK_ERROR("layers[0].layer.kernel_regularizer.l1: must be a number");
  CHECK_ERROR("layers[0].layer.bias_initializer.val: unknown key, did you mean \"value\"?");
}

/* A model of these layers, in JSON with single quotes. */
static char *described(const char *size, const char *layers) {
  size_t n = strlen(size) + strlen(layers) + 100;
  char *json = test_alloc(n);
  snprintf(json, n, "{'size':%s,'optimizer':'sgd','loss':'mse','layers':[%s]}", size, layers);
  for (char *c = json; *c; c++)
    if (*c == '\'') *c = '"';
  return json;
}

#define ONE(type, options) "{'type':'" type "','layer':{" options "}}"

/* What a layer gives, and how many numbers its parameters have; its options survive being written.
 * Sizes are those of Keras 3. */
static void test_layers(void) {
  static const struct {
    const char *size, *layer, *out;
    int64_t parameters;
  } rows[] = {
      {"[7,6,3]", ONE("DepthwiseConv2D", "'kernel_size':3,'depth_multiplier':2"), "5x4x6", 60},
      {"[7,6,3]",
       ONE("DepthwiseConv2D", "'kernel_size':[3,2],'strides':2,'padding':'same','use_bias':false,"
                              "'activation':'relu','depthwise_initializer':'he_normal'"),
       "4x3x3", 18},
      {"[7,6,3]",
       ONE("SeparableConv2D", "'filters':5,'kernel_size':3,'depth_multiplier':2,"
                              "'pointwise_initializer':'zeros'"),
       "5x4x5", 54 + 30 + 5},
      {"[4,5,3]", ONE("Conv2DTranspose", "'filters':2,'kernel_size':3"), "6x7x2", 56},
      {"[4,5,3]", ONE("Conv2DTranspose", "'filters':2,'kernel_size':[5,2],'strides':[2,3]"),
       "11x15x2", 62},
      {"[4,5,3]",
       ONE("Conv2DTranspose", "'filters':2,'kernel_size':3,'strides':2,'padding':'same',"
                              "'use_bias':false"),
       "8x10x2", 54},
      {"[4,5,3]",
       ONE("Conv2DTranspose", "'filters':2,'kernel_size':3,'strides':2,'padding':'same',"
                              "'output_padding':[0,1]"),
       "7x10x2", 56},
      {"[7,6,3]", ONE("AveragePooling2D", ""), "3x3x3", 0},
      {"[7,6,3]", ONE("AveragePooling2D", "'pool_size':3,'strides':2,'padding':'same'"), "4x3x3",
       0},
      {"[7,6,3]", ONE("GlobalAveragePooling2D", ""), "3", 0},
      {"[7,6,3]", ONE("GlobalMaxPooling2D", "'keepdims':true"), "1x1x3", 0},
      {"[7,6,3]", ONE("ZeroPadding2D", ""), "9x8x3", 0},
      {"[7,6,3]", ONE("ZeroPadding2D", "'padding':[2,[0,3]]"), "11x9x3", 0},
      {"[7,6,3]", ONE("Cropping2D", "'cropping':[[1,2],[3,0]]"), "4x3x3", 0},
      {"[7,6,3]", ONE("UpSampling2D", "'size':[2,3],'interpolation':'bilinear'"), "14x18x3", 0},
      {"[7,6,3]", ONE("Resizing", "'height':3,'width':9,'crop_to_aspect_ratio':false"), "3x9x3", 0},
      {"[7,6,3]", ONE("Rescaling", "'scale':0.1,'offset':-1"), "7x6x3", 0},
      {"[7,6,3]", ONE("Normalization", "'mean':[1,2,3],'variance':0.5"), "7x6x3", 6},
      {"[7,6,3]", ONE("LayerNormalization", ""), "7x6x3", 6},
      {"[7,6,3]", ONE("LayerNormalization", "'axis':[1,2,3],'center':false"), "7x6x3", 126},
      {"[8]", ONE("LayerNormalization", "'scale':false,'epsilon':0.01"), "8", 8},
      {"[7,6,8]", ONE("GroupNormalization", "'groups':4"), "7x6x8", 16},
      {"[7,6,8]", ONE("GroupNormalization", "'groups':-1,'scale':false,'center':false"), "7x6x8",
       0},
      {"[7,6,8]", ONE("RMSNormalization", "'epsilon':0.5"), "7x6x8", 8},
      {"[7,6,8]", ONE("UnitNormalization", ""), "7x6x8", 0},
      {"[7,6,3]", ONE("RandomFlip", "'mode':'horizontal'"), "7x6x3", 0},
      {"[7,6,3]", ONE("RandomRotation", "'factor':[-0.25,0.25],'fill_mode':'constant'"), "7x6x3",
       0},
      {"[7,6,3]", ONE("RandomTranslation", "'height_factor':0.1,'width_factor':-0.2"), "7x6x3", 0},
      {"[7,6,3]", ONE("RandomZoom", "'height_factor':0.3,'width_factor':0.3,'fill_value':0.5"),
       "7x6x3", 0},
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    char *json = described(rows[i].size, rows[i].layer), *first = NULL, *second = NULL;
    char text[WML_SHAPE_TEXT];
    webml_model *m = load(json), *again = NULL;
    if (!m) continue;
    wml_shape out = wml_model_output_shape(m);
    CHECKF(strcmp(wml_shape_text(&out, text), rows[i].out) == 0, "%s gives %s", json, text);
    int64_t parameters = 0;
    for (int k = 0; k < m->layers[0].n_params; k++) {
      const wml_param *p = &m->layers[0].params[k];
      int64_t n = 1, seen = 1;
      for (int d = 0; d < p->rank; d++) n *= p->dim[d];
      for (int d = 0; d < p->seen_rank; d++) seen *= p->seen_dim[d];
      CHECKF(!p->seen_rank || seen == n, "%s: %s is seen with other elements", json, p->name);
      parameters += n;
    }
    CHECKF(parameters == rows[i].parameters, "%s has %lld", json, (long long)parameters);
    CHECK_OK(webml_model_to_json(m, &first));
    again = load(first);
    CHECK_OK(webml_model_to_json(again, &second));
    CHECKF(first && second && strcmp(first, second) == 0, "%s then %s", first, second);
    webml_free(first);
    webml_free(second);
    webml_model_destroy(again);
    webml_model_destroy(m);
    free(json);
  }
}

/* What its parameters begin with: one number stands for all features, and a variance is bounded as
 * Keras bounds its root, by 1e-7. */
static void test_statistics(void) {
  char *json = described("[3]", ONE("Normalization", "'mean':-2,'variance':[0,4,9]"));
  webml_model *m = load(json);
  const float *mean = m->layers[0].params[0].values, *variance = m->layers[0].params[1].values;
  CHECK(mean[0] == -2.0f && mean[2] == -2.0f);
  CHECK(variance[0] == 1e-14f && variance[1] == 4.0f && variance[2] == 9.0f);
  CHECK(!m->layers[0].params[0].trainable && m->layers[0].params[0].statistic);
  webml_model_destroy(m);
  free(json);
}

/* Options are written as they were read. */
static void test_written_options(void) {
  static const struct {
    const char *layer, *written;
  } rows[] = {
      {ONE("ZeroPadding2D", "'padding':[1,[2,3]]"), "\"padding\":[[1,1],[2,3]]"},
      {ONE("Cropping2D", "'cropping':1"), "\"cropping\":[[1,1],[1,1]]"},
      {ONE("RandomRotation", "'factor':[-0.25,0.25]"), "\"factor\":0.25"},
      {ONE("Normalization", "'mean':[1,2.5,3],'variance':4"), "\"mean\":[1,2.5,3],\"variance\":4"},
      {ONE("LayerNormalization", "'axis':[1,2,3]"), "\"axis\":[1,2,3]"},
      {ONE("Conv2DTranspose", "'filters':1,'kernel_size':2,'strides':2,'output_padding':1"),
       "\"output_padding\":[1,1]"},
      {ONE("Conv2DTranspose", "'filters':1,'kernel_size':2,'output_padding':null"),
       "\"kernel_size\":[2,2],\"padding\":\"valid\",\"name\""},
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    char *json = described("[7,6,3]", rows[i].layer), *text = NULL;
    webml_model *m = load(json);
    CHECK_OK(webml_model_to_json(m, &text));
    CHECKF(text && strstr(text, rows[i].written), "%s is written as %s", json, text ? text : "");
    webml_free(text);
    webml_model_destroy(m);
    free(json);
  }
}

static void test_layer_errors(void) {
  static const struct {
    const char *layers, *error;
  } rows[] = {
      {ONE("DepthwiseConv2D", "'kernel_size':8"), "kernel 8x8 exceeds the 7x6 input"},
      {ONE("SeparableConv2D", "'filters':2,'kernel_size':2,'strides':2,'dilation_rate':2"),
       "cannot both be above 1"},
      {ONE("Conv2DTranspose", "'filters':2,'kernel_size':3,'strides':2,'output_padding':2"),
       "output_padding 2 does not go with kernel_size 3 and strides 2"},
      {ONE("Conv2DTranspose", "'filters':2,'kernel_size':3,'dilation_rate':2"),
       "2 is out of range, must be 1 to 1"},
      {ONE("AveragePooling2D", "'pool_size':8"), "pool 8x8 exceeds the 7x6 input"},
      {ONE("Cropping2D", "'cropping':[3,3]"), "leaves nothing of the width of an input of 7x6x3"},
      {ONE("ZeroPadding2D", "'padding':[1,2,3]"), "must be one number, [height, width] or"},
      {ONE("ZeroPadding2D", "'padding':[[1,-2],3]"),
       "layers[0].layer.padding[0][1]: -2 is out of range"},
      {ONE("Resizing", "'height':3,'width':3,'crop_to_aspect_ratio':true"),
       "only false is supported"},
      {ONE("Conv2D", "'filters':0,'kernel_size':3") "," ONE(
           "Resizing", "'height':4,'width':5") "," ONE("MaxPooling2D", "'pool_size':6"),
       "pool 6x6 exceeds the 4x5 input"},
      {ONE("Normalization", "'mean':3"), "needs mean and variance"},
      {ONE("Normalization", "'mean':[3,4],'variance':1"), "mean has 2 numbers for 3 features"},
      {ONE("Normalization", "'mean':0,'variance':1,'axis':1"), "axis 1 is not the last axis"},
      {ONE("LayerNormalization", "'axis':[1,2]"), "only the last axis, -1, or all axes"},
      {ONE("LayerNormalization", "'axis':1"), "only the last axis, -1, or all axes"},
      {ONE("LayerNormalization", "'rms_scaling':true"), "use RMSNormalization"},
      {ONE("GroupNormalization", ""), "the 3 channels are not a multiple of groups 32"},
      {ONE("GroupNormalization", "'groups':0"), "the 3 channels are not a multiple of groups 0"},
      {ONE("UnitNormalization", "'axis':2"), "only the last axis, -1, is supported"},
      {ONE("RandomRotation", "'factor':[-0.1,0.3]"), "only from -x to x is supported"},
      {ONE("RandomRotation", "'factor':[0.3,-0.1]"), "the greatest, -0.1, is below the least, 0.3"},
      {ONE("RandomRotation", "'factor':0.1,'fill_mode':'wrap'"),
       "must be \"nearest\", \"constant\" or \"reflect\""},
      {ONE("RandomZoom", "'height_factor':0.2"), "not by one factor"},
      {ONE("RandomZoom", "'height_factor':0.2,'width_factor':0.1"), "zoomed by one range"},
      {ONE("Flatten", "") "," ONE("RandomFlip", ""), "takes an image"},
      {ONE("MaxPooling2D", "") "," ONE("RandomFlip", ""), "must stand before all other layers"},
      {ONE("RandomFlip", "") "," ONE("RandomFlip", ""), "stands twice, with \"random_flip\""},
      {ONE("RandomRotation", "'factor':0.1") "," ONE(
           "RandomTranslation", "'height_factor':0,'width_factor':0.1,'fill_mode':'nearest'"),
       "fills in another way than \"random_rotation\""},
      {ONE("RandomFlip", "") ",{'type':'Flatten','layer':{'name':'a'},'inputs':'input'},"
                             "{'type':'Flatten','layer':{'name':'b'},'inputs':'random_flip'}",
       "changes what \"a\" reads"},
      {ONE("RandomBrightness", "'factor':0.1"), "augmentation multiplies them"},
      {ONE("RandomCrop", "'height':3,'width':3"), "augmentation keeps their size"},
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    char *json = described("[7,6,3]", rows[i].layers);
    webml_model *m = NULL;
    CHECK_STATUS(WEBML_ERROR_MODEL, webml_model_parse(json, strlen(json), &m));
    CHECK_ERROR(rows[i].error);
    webml_model_destroy(m);
    free(json);
  }
}

int main(void) {
  test_layers();
  test_statistics();
  test_written_options();
  test_layer_errors();
  test_values();
  test_json();
  test_numbers();
  test_dissertation();
  test_same_padding();
  test_options();
  test_errors();
  return test_report();
}
