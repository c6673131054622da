/* Documents of Keras: what becomes of them, and what is wrong with those that cannot be read. Their
 * predictions are compared with TensorFlow.js's in keras_test.py. */
#include "base/alloc.h"
#include "model/model.h"
#include "support.h"

#include <stdlib.h>
#include <string.h>

/* The description in normal form; the caller frees it. */
static char *normal_form(const char *path) {
  webml_model *m = NULL;
  char *json = NULL;
  CHECK_OK(webml_model_load(path, &m));
  if (m) CHECK_OK(webml_model_to_json(m, &json));
  webml_model_destroy(m);
  return json;
}

static void test_forms(void) {
  static const struct {
    const char *path, *part;
  } rows[] = {
      {"keras3_sequential", "\"name\":\"sequential\",\"format\":\"images\",\"size\":[28,28,1]"},
      {"keras3_sequential", "\"optimizer\":{\"name\":\"adam\",\"learning_rate\":0.000500000024}"},
      {"keras3_sequential", "\"loss\":\"sparse_categorical_crossentropy\""},
      {"keras3_sequential", "\"metrics\":[\"accuracy\"]"},
      {"keras2_sequential", "\"optimizer\":null,\"loss\":null"},
      {"keras2_sequential", "\"axis\":3"},
      {"keras3_residual", "\"momentum\":0.899999976"},
      {"keras3_residual", "\"learning_rate\":0.1"},
      {"keras3_residual", "\"activation\":\"silu\""},
      {"keras3_residual", "\"max_value\":6"},
      {"keras3_residual", "\"inputs\":[\"stem_relu\",\"conv\"]"},
      {"keras2_shared", "{\"use\":\"shared\",\"name\":\"shared.2\",\"inputs\":[\"right\"]}"},
      {"keras2_shared",
       "\"kernel_constraint\":{\"name\":\"max_norm\",\"max_value\":3,\"axis\":[1]}"},
      {"keras2_shared", "\"kernel_regularizer\":{\"l1\":0,\"l2\":0.00999999978"},
      {"keras3_two_outputs", "\"place\":{\"size\":[1],\"dtype\":\"int32\"}"},
      {"keras3_two_outputs", "\"price\":{\"layer\":\"price\",\"loss\":\"mean_squared_error\","
                             "\"metrics\":[\"mean_absolute_error\"]}"},
      {"keras3_two_outputs",
       "\"kind\":{\"layer\":\"kind\",\"loss\":\"categorical_crossentropy\",\"loss_weight\":0.5,"
       "\"metrics\":[\"accuracy\",\"top_k_categorical_accuracy\"]}"},
      {"keras3_nested", "\"scale\":2"},
      {"keras3_nested", "\"name\":\"base.block.conv\""},
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    char path[80];
    snprintf(path, sizeof path, "tests/data/keras/%s.json", rows[i].path);
    char *json = normal_form(path);
    CHECKF(json && strstr(json, rows[i].part), "%s lacks %s: %s", rows[i].path, rows[i].part,
           json ? json : "");
    webml_model *again = NULL;
    if (json) CHECK_OK(webml_model_parse(json, strlen(json), &again));
    webml_model_destroy(again);
    webml_free(json);
  }
}

/* ---- documents in one line each ---- */

#define SEQUENTIAL(layers) "{'class_name':'Sequential','config':{'name':'s','layers':[" layers "]}}"
#define DENSE(name, more)                                                                          \
  "{'class_name':'Dense','config':{'name':'" name "','units':2,'batch_input_shape':[null,3]" more  \
  "}}"
#define IMAGE "{'class_name':'InputLayer','config':{'batch_shape':[null,7,6,3],'name':'i'}}"
#define LAYER(class_name, name, more)                                                              \
  "{'class_name':'" class_name "','config':{'name':'" name "'" more "}}"
#define FUNCTIONAL(layers, outputs)                                                                \
  "{'class_name':'Functional','config':{'name':'f','layers':[{'class_name':'InputLayer','name':"   \
  "'i','config':{'batch_shape':[null,3],'name':'i'},'inbound_nodes':[]}," layers                   \
  "],'input_layers':[['i',0,0]],'output_layers':[" outputs "]}}"
#define NODE(class_name, name, more, nodes)                                                        \
  "{'class_name':'" class_name "','name':'" name "','config':{'name':'" name "'" more              \
  "},'inbound_nodes':[" nodes "]}"
#define READS(name) "[['" name "',0,0,{}]]"

static char *quoted(const char *text) {
  char *copy = test_alloc(strlen(text) + 1);
  strcpy(copy, text);
  for (char *c = copy; *c; c++)
    if (*c == '\'') *c = '"';
  return copy;
}

static void test_errors(void) {
  static const struct {
    const char *document, *error;
  } rows[] = {
      {SEQUENTIAL(DENSE("a", ",'lora_rank':4")),
       "layer \"a\".lora_rank: is not supported, other than by its default"},
      {SEQUENTIAL(IMAGE "," LAYER("Conv2D", "c",
                                  ",'filters':2,'kernel_size':[3,3],'data_format':"
                                  "'channels_first'")),
       "layer \"c\".data_format: only \"channels_last\" is supported"},
      {SEQUENTIAL(IMAGE "," LAYER("Conv2D", "c", ",'filters':2,'kernel_size':[9,9]")),
       "layer \"c\" (Conv2D)"},
      {SEQUENTIAL(DENSE("a", "") "," LAYER("LSTM", "l", ",'units':3")),
       "layer \"l\": there is no layer \"LSTM\" here"},
      {SEQUENTIAL(DENSE("a", "") "," LAYER("My>Own", "own", "")),
       "layer \"own\": \"My>Own\" is a class of its own"},
      {SEQUENTIAL(DENSE("a", "") ",{'module':'__main__','class_name':'Dense','config':{'name':'d',"
                                 "'units':2}}"),
       "layer \"d\": \"__main__>Dense\" is a class of its own"},
      {SEQUENTIAL(DENSE("a", "") "," LAYER("Lambda", "l", "")), "holds Python code"},
      {SEQUENTIAL(LAYER("Dense", "a", ",'units':2")), "the shape of what it reads is not in"},
      {SEQUENTIAL(DENSE("a", "") "," DENSE("a", "")), "is the second layer of that name"},
      {SEQUENTIAL(DENSE("a", ",'activation':{'class_name':'function','config':'mine'}")),
       "unknown activation \"mine\""},
      {"{'class_name':'MyModel','config':{}}", "does not say its layers"},
      {FUNCTIONAL(NODE("Dense", "a", ",'units':2", READS("b")) "," NODE("Dense", "b", ",'units':2",
                                                                        READS("a")),
                  "['a',0,0]"),
       "layer \"a\" (Dense): reads what depends on itself"},
      {FUNCTIONAL(NODE("Dense", "a", ",'units':2", READS("x")), "['a',0,0]"),
       "reads call 0 of \"x\", which there is not"},
      {FUNCTIONAL(NODE("Dense", "a", ",'units':2", "[['i',0,1,{}]]"), "['a',0,0]"),
       "reads output 1 of \"i\", which has 1"},
      {FUNCTIONAL(NODE("Dense", "a", ",'units':2", READS("i")), "['a',1,0]"),
       "reads call 1 of \"a\""},
      {FUNCTIONAL(NODE("Dense", "a", ",'units':2", READS("i") "," READS("i")), "['a',1,0]"),
       "nothing reads what \"a\" gives"},
      {FUNCTIONAL(NODE("Dense", "a", ",'units':2", READS("i")), ""), "output_layers are empty"},
      {FUNCTIONAL(NODE("Dense", "a", ",'units':2", "[['i',0,0,{'mask':['i',0,0]}]]"), "['a',0,0]"),
       "layer \"a\" (Dense): is called with mask"},
      {FUNCTIONAL(NODE("Dropout", "a", ",'rate':0.5", "[['i',0,0,{'training':true}]]"),
                  "['a',0,0]"),
       "layer \"a\" (Dropout): is called with training"},
      {FUNCTIONAL(NODE("BatchNormalization", "a", "", "[['i',0,0,{'training':false}]]"),
                  "['a',0,0]"),
       "is trained, but called with training=False"},
      {FUNCTIONAL(NODE("Add", "a", "", "{'args':[[1,2]],'kwargs':{}}"), "['a',0,0]"),
       "reads something that is not the result of a layer"},
      {FUNCTIONAL(NODE("Sequential", "a", ",'layers':[]", "[['i',0,0],['i',0,0]]"), "['a',0,0]"),
       "at least one layer"},
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    char *json = quoted(rows[i].document);
    webml_model *m = NULL;
    CHECK_STATUS(WEBML_ERROR_MODEL, webml_model_parse(json, strlen(json), &m));
    CHECK_ERROR(rows[i].error);
    webml_model_destroy(m);
    free(json);
  }
}

/* What is left out and what stays, as layers of the summary. */
static void test_layers(void) {
  static const struct {
    const char *document, *has, *lacks;
  } rows[] = {
      /* Only what is made for bytes is taken for the scaling of pictures. */
      {SEQUENTIAL(IMAGE "," LAYER("Rescaling", "r",
                                  ",'scale':0.00392156862745098,'offset':0") "," LAYER("Flatten",
                                                                                       "f", "")),
       "\"f\"", "\"r\""},
      {SEQUENTIAL(IMAGE "," LAYER("Rescaling", "r", ",'scale':0.00392156862745098,'offset':-0.5")),
       "\"scale\":1,\"offset\":-0.5", "\"scale\":0.00"},
      {SEQUENTIAL(IMAGE "," LAYER("Resizing", "z", ",'height':4,'width':4") "," LAYER(
           "Rescaling", "r", ",'scale':0.00392156862745098,'offset':0")),
       "\"z\"", "\"r\""},
      {SEQUENTIAL(IMAGE "," LAYER("Rescaling", "r", ",'scale':2,'offset':-1")),
       "\"scale\":2,\"offset\":-1", "510"},
      {SEQUENTIAL(DENSE("a", "") "," LAYER("Rescaling", "r", ",'scale':0.00392156862745098")),
       "\"scale\":0.0039", "\"scale\":1"},
      /* A layer that is called for prediction does not act in training. */
      {FUNCTIONAL(NODE("Dropout", "d", ",'rate':0.5", "[['i',0,0,{'training':false}]]") "," NODE(
                      "Dense", "a", ",'units':2", READS("d")),
                  "['a',0,0]"),
       "\"a\"", "Dropout"},
      {FUNCTIONAL(NODE("Dropout", "d", ",'rate':0.5",
                       "{'args':[{'class_name':'__keras_tensor__','config':{'keras_history':['i',"
                       "0,0]}}],'kwargs':{'training':false}}"),
                  "['d',0,0]"),
       "Dropout", "inputs"},
      {FUNCTIONAL(NODE("Dense", "x/y", ",'units':2", READS("i")), "['x/y',0,0]"), "\"x.y\"", "x/y"},
      /* Indices that pass another layer before they are looked up. */
      {"{'class_name':'Model','config':{'name':'f','layers':[{'class_name':'InputLayer','name':'i',"
       "'config':{'batch_input_shape':[null,3],'dtype':'int64'},'inbound_nodes':[]}," NODE(
           "Reshape", "r", ",'target_shape':[3]",
           READS("i")) "," NODE("Embedding", "e", ",'input_dim':9,'output_dim':2",
                                READS(
                                    "r")) "],'input_layers':['i',0,0],'output_layers':['e',0,0]}}",
       "\"dtype\":\"int32\"", "float"},
      /* One output without a list around it; what leads to none is left out. */
      {FUNCTIONAL(NODE("Dense", "a", ",'units':2", READS("i")) "," NODE("Dense", "b", ",'units':2",
                                                                        READS("a")),
                  "'a',0,0"),
       "\"a\"", "\"b\""},
      {FUNCTIONAL(NODE("Dense", "input", ",'units':2", READS("i")), "['input',0,0]"),
       "\"inputs\":{\"i\":", "size\":[3],\"dyn"},
      {SEQUENTIAL(DENSE("a", ",'dtype':{'class_name':'DTypePolicy','config':{'name':'float32'}},"
                             "'kernel_initializer':{'class_name':'VarianceScaling','config':{"
                             "'scale':1,'mode':'fan_avg','distribution':'normal','seed':null}}")),
       "\"distribution\":\"truncated_normal\"", "dtype"},
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    char *json = quoted(rows[i].document), *form = NULL;
    webml_model *m = NULL;
    CHECK_OK(webml_model_parse(json, strlen(json), &m));
    if (m) CHECK_OK(webml_model_to_json(m, &form));
    CHECKF(form && strstr(form, rows[i].has), "%s in %s", rows[i].has, form);
    CHECKF(form && !strstr(form, rows[i].lacks), "%s not in %s", rows[i].lacks, form ? form : "");
    webml_free(form);
    webml_model_destroy(m);
    free(json);
  }
}

/* Messages name the line of the document, and offer no patch of it. */
static void test_lines(void) {
  char *json = quoted("{'class_name':'Sequential',\n'config':{'layers':[\n" DENSE(
      "a", "") ",\n{'class_name':'Dense','config':{'name':'b',\n'units':-2}}]}}");
  char *answer = NULL;
  CHECK_OK(webml_model_check(json, strlen(json), NULL, &answer));
  static const char *const parts[] = {"\"path\":\"\",\"line\":5,\"text\":\"layer \\\"b\\\".units:",
                                      "\"patch\":null"};
  for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
    CHECKF(answer && strstr(answer, parts[i]), "%s in %s", parts[i], answer);
  CHECKF(answer && !strstr(answer, "replace"), "%s", answer);
  webml_free(answer);
  free(json);
}

/* Memory that is short at any point is an error, and leaves nothing behind. */
static void test_memory(void) {
  int64_t live = wml_alloc_live();
  webml_status status = WEBML_ERROR_MEMORY;
  int n = 0;
  while (status == WEBML_ERROR_MEMORY && n < 10000) {
    webml_model *m = NULL;
    wml_alloc_fail_from(++n);
    status = webml_model_load("tests/data/keras/keras3_nested.json", &m);
    wml_alloc_fail_from(0);
    webml_model_destroy(m);
    CHECKF(wml_alloc_live() == live, "allocation %d: %lld blocks more", n,
           (long long)(wml_alloc_live() - live));
  }
  CHECK_OK(status);
  CHECK(n > 10);
}

/* A small document does not make a large model: sixteen models, each of which calls the next twice.
 */
static void test_doubling(void) {
  enum { DEPTH = 16 };
  char *text = test_alloc(1 << 16), *end = text;
  for (int i = 0; i < DEPTH; i++)
    end += sprintf(end,
                   "{'class_name':'Functional','name':'m%d','inbound_nodes':[" READS("i") "," READS(
                       "i") "],'config':{'name':'m%d','layers':[{'class_name':'InputLayer','name':"
                            "'i','config':{'batch_shape':[null,3]},'inbound_nodes':[]},",
                   i, i);
  end += sprintf(end, NODE("Dense", "m16", ",'units':3", READS("i") "," READS("i")));
  for (int i = DEPTH; i > 0; i--)
    end += sprintf(end, "],'input_layers':['i',0,0],'output_layers':[['m%d',%d,0],['m%d',%d,0]]}}",
                   i, i < DEPTH, i, i < DEPTH ? 2 : 1);
  char *json = quoted(text);
  webml_model *m = NULL;
  CHECK_STATUS(WEBML_ERROR_MODEL, webml_model_parse(json, strlen(json), &m));
  CHECK_ERROR("more than 2048 layers");
  free(json);
  free(text);
}

int main(void) {
  test_doubling();
  test_forms();
  test_layers();
  test_errors();
  test_lines();
  test_memory();
  return test_report();
}
