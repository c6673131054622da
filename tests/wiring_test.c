/* Graphs in descriptions: what reads what, blocks, layers of several inputs and those that change
 * shapes; their errors; round trips to the byte. JSON has ' for ". */
#include "model/model.h"
#include "support.h"

#include <stdlib.h>
#include <string.h>

static webml_model *load(const char *json) {
  webml_model *m = NULL;
  CHECK_OK(webml_model_parse(json, strlen(json), &m));
  return m;
}

static char *quoted(const char *text) {
  char *json = test_alloc(strlen(text) + 1);
  for (size_t i = 0; text[i]; i++) json[i] = text[i] == '\'' ? '"' : text[i];
  return json;
}

static webml_model *load_quoted(const char *text) {
  char *json = quoted(text);
  webml_model *m = load(json);
  free(json);
  return m;
}

static void check_error(const char *text, const char *error) {
  webml_model *m = NULL;
  char *json = quoted(text);
  CHECK_STATUS(WEBML_ERROR_MODEL, webml_model_parse(json, strlen(json), &m));
  CHECK_ERROR(error);
  webml_model_destroy(m);
  free(json);
}

#define REST "'optimizer':'sgd','loss':'mse'"
#define NET(size, layers) "{'size':" size ",'layers':[" layers "]," REST "}"
#define DENSE(options) "{'type':'Dense','layer':{" options "}}"

/* One layer behind an input: the shape of its result. */
static void test_shapes(void) {
  static const struct {
    const char *size, *layer, *out;
  } rows[] = {
      {"[4,6]", "'Reshape','layer':{'target_shape':[-1,3]}", "8x3"},
      {"[4,6]", "'Reshape','layer':{'target_shape':[2,3,4]}", "2x3x4"},
      {"[4,6]", "'Reshape','layer':{'target_shape':24}", "24"},
      {"[4,6,2]", "'Permute','layer':{'dims':[3,1,2]}", "2x4x6"},
      {"[5]", "'RepeatVector','layer':{'n':3}", "3x5"},
      {"[5]", "'Embedding','layer':{'input_dim':9,'output_dim':4}", "5x4"},
      {"[5,2]", "'Embedding','layer':{'input_dim':9,'output_dim':4}", "5x2x4"},
      {"[5,4]", "'Activation','layer':{'activation':'glu'}", "5x2"},
      {"[3,2,4]", "'Softmax','layer':{'axis':3}", "3x2x4"},
      {"[3,2,4]", "'SpatialDropout2D','layer':{'rate':0.5,'data_format':'channels_last'}", "3x2x4"},
      {"[3,2,4]", "'PReLU','layer':{'shared_axes':[1,2]}", "3x2x4"},
      {"[3,2]", "'Concatenate','inputs':['input','input','input']", "3x6"},
      {"[3,2]", "'Concatenate','layer':{'axis':1},'inputs':['input','input']", "6x2"},
      {"[3,2]", "'Dot','layer':{'axes':1},'inputs':['input','input']", "2x2"},
      {"[3]", "'Dot','layer':{'axes':-1},'inputs':['input','input']", "1"},
      {"[3,2]", "'Subtract','inputs':['input','input']", "3x2"}};
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    char json[400], shape[WML_SHAPE_TEXT];
    snprintf(json, sizeof json, NET("%s", "{'type':%s}"), rows[i].size, rows[i].layer);
    webml_model *m = load_quoted(json);
    wml_shape out = m ? wml_model_output_shape(m) : (wml_shape){0};
    CHECKF(strcmp(wml_shape_text(&out, shape), rows[i].out) == 0, "%s: %s", json, shape);
    webml_model_destroy(m);
  }
}

/* What a layer cannot do is told at its place, with what it can. */
static void test_layer_errors(void) {
  static const struct {
    const char *size, *layer, *error;
  } rows[] = {
      {"[4,6]", "'Reshape','layer':{'target_shape':[5,-1]}", "cannot make [5x?] of the 24 values"},
      {"[4]", "'Reshape','layer':{'target_shape':[-1,-1]}", "has -1 more than once"},
      {"[4]", "'Reshape','layer':{'target_shape':[1,1,2,2]}", "has 4 dimensions; up to 3"},
      {"[4]", "'Reshape','layer':{'target_shape':[0]}", "has a dimension of 0"},
      {"[4]", "'Reshape'", "\"target_shape\" is required"},
      {"[4]", "'Reshape','layer':{'target_shape':[1,2,3,4,5]}", "list of 1 to 4 whole numbers"},
      {"[4]", "'Reshape','layer':{'target_shape':['a']}",
       "target_shape[0]: must be a whole number"},
      {"[4,6]", "'Permute','layer':{'dims':[1,1]}", "each of the 2 dimensions of its input once"},
      {"[4,6]", "'Permute','layer':{'dims':[1,2,3]}", "each of the 2 dimensions"},
      {"[4,6]", "'RepeatVector','layer':{'n':3}", "takes a row [features]"},
      {"[4]", "'SpatialDropout2D','layer':{'rate':0.5}", "takes an image"},
      {"[4]", "'PReLU','layer':{'shared_axes':[2]}", "shared_axes has 2"},
      {"[4,2]", "'Softmax','layer':{'axis':1}", "axis 1 is not the last axis; only -1 or 2"},
      {"[4]", "'AlphaDropout','layer':{'rate':1}", "must be below 1"},
      {"[4]", "'Embedding','layer':{'input_dim':9,'output_dim':4,'mask_zero':true}",
       "mask_zero is not supported"},
      {"[4]", "'Activation'", "\"activation\" is required"},
      {"[4]", "'Lambda','layer':{'function':'x'}", "Lambda holds Python code"},
      {"[4]", "'ReLU','layer':{'negative_slop':1}", "did you mean \"negative_slope\"?"},
      {"[4]", "'Add','inputs':['input']", "takes at least 2 inputs"},
      {"[4]", "'Subtract','inputs':['input','input','input']", "takes fewer inputs, not 3"},
      {"[4]", "'ReLU','inputs':['input','input']", "takes one input, not 2"},
      {"[4]", "'Concatenate','layer':{'axis':2},'inputs':['input','input']",
       "axis 2 is none of its input's"},
      {"[4]", "'Concatenate','layer':{'axis':0},'inputs':['input','input']", "axis 0 is none"},
      {"[4]", "'Dot','layer':{'axes':0},'inputs':['input','input']", "axis 0 is none"},
      {"[4,3]", "'Dot','layer':{'axes':[1,2]},'inputs':['input','input']",
       "its inputs have 4 and 3 values along axes 1 and 2"},
      {"[4,3,2]", "'Dot','layer':{'axes':1},'inputs':['input','input']",
       "would have 4 dimensions"}};
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    char json[400];
    snprintf(json, sizeof json, NET("%s", "{'type':%s}"), rows[i].size, rows[i].layer);
    check_error(json, rows[i].error);
  }
  check_error(NET("[4]", DENSE("'units':3") ",{'type':'Add','inputs':['dense','input']}"),
              "its inputs [3] and [4] do not fit");
  check_error(NET("[4,5]", DENSE("'units':3") ",{'type':'Concatenate','layer':{'axis':1},"
                                              "'inputs':['dense','input']}"),
              "may differ along axis 1 only");
  check_error(NET("[4]", DENSE("'units':3") ",{'type':'Embedding','layer':{'input_dim':9,"
                                            "'output_dim':4}}"),
              "takes whole numbers: an input of the model with \"dtype\": \"int32\"");
  check_error("{'inputs':{'x':{'size':[4],'dtype':'int32'}},'layers':[" DENSE("'units':3") "]," REST
                                                                                           "}",
              "cannot compute with whole numbers");
  check_error("{'inputs':{'x':{'size':[4],'dtype':'int32'}},'layers':[{'type':'GaussianNoise',"
              "'layer':{'stddev':1}}]," REST "}",
              "cannot compute with whole numbers");
}

#define TWO "'inputs':{'picture':[4,4,2],'row':{'size':[3],'columns':[0,2,5]}},"

/* What reads what. */
static void test_wiring(void) {
  webml_model *m = load_quoted("{" TWO "'layers':[{'type':'Flatten','inputs':'picture'}," DENSE(
      "'units':3") ","
                   "{'type':'Dense','layer':{'units':3,'name':'of_row'},'inputs':['row']},"
                   "{'type':'Add','inputs':['of_row','dense','of_row']},{'use':'of_row','inputs':'"
                   "add'}],"
                   "'outputs':{'a':{'layer':'of_row_1','loss':'mse'},'b':{'layer':'dense','loss':'"
                   "mae',"
                   "'loss_weight':0.5,'metrics':['mse']}},'optimizer':'sgd'}");
  if (!m) return;
  CHECK(m->n_inputs == 2 && m->n_nodes == 7 && m->n_layers == 4 && m->n_outputs == 2);
  CHECK(m->inputs[1].columns.n == 3 && m->inputs[1].columns.items[2] == 5);
  const wml_node *add = &m->nodes[5], *use = &m->nodes[6];
  CHECK(add->n_inputs == 3 && add->inputs[0] == 4 && add->inputs[1] == 3 && add->inputs[2] == 4);
  CHECK(m->nodes[2].inputs[0] == 0 && m->nodes[3].inputs[0] == 2 && m->nodes[4].inputs[0] == 1);
  CHECK(use->is_use && use->layer == m->nodes[4].layer && strcmp(use->name, "of_row_1") == 0);
  CHECK(m->outputs[0].node == 6 && m->outputs[1].node == 3 && m->outputs[1].loss_weight == 0.5f);
  CHECK(m->outputs[1].loss.kind == WML_MEAN_ABSOLUTE_ERROR && m->outputs[1].n_metrics == 1);
  char *summary = NULL;
  CHECK_OK(webml_model_summary(m, &summary)); /* 32 * 3 + 3, and 3 * 3 + 3 once */
  CHECKF(summary && strstr(summary, "\"parameters\":111,"), "%s", summary);
  webml_free(summary);
  webml_model_destroy(m);
}

static void test_wiring_errors(void) {
  static const struct {
    const char *layers, *error;
  } rows[] = {
      {"{'type':'Flatten','inputs':'pictures'}",
       "layers[0].inputs: there is no layer \"pictures\" before it, did you mean \"picture\"?"},
      {"{'type':'Flatten','inputs':'picture'},{'type':'Add','inputs':['flaten','row']}",
       "layers[1].inputs[0]: there is no layer \"flaten\" before it, did you mean \"flatten\"?"},
      {"{'type':'Flatten'}", "must say which of the inputs it reads: \"inputs\": \"picture\""},
      {"{'type':'Add','inputs':['row','later']}," DENSE("'units':3,'name':'later'"),
       "there is no layer or input \"later\" before it"},
      {"{'type':'Add','inputs':['row',3]}", "inputs[1]: must be the name of a layer"},
      {"{'type':'Dense','layer':{'units':3},'inputs':'row'}",
       "inputs.picture: nothing reads what \"picture\" gives"},
      {"{'type':'Flatten','inputs':'picture'},{'type':'Dense','layer':{'units':2},'inputs':'row'}",
       "nothing reads what \"flatten\" gives: name it in the inputs of a later layer"},
      {"{'type':'Flatten','layer':{'name':'row'},'inputs':'picture'}",
       "the name \"row\" is already that of an input"},
      {"{'type':'Flatten','layer':{'name':'f'},'inputs':'picture'}," DENSE("'units':3,'name':'f'"),
       "the name \"f\" is already that of layers[0]"},
      {"{'type':'Dense','layer':{'units':3},'inputs':'row'},{'use':'dense','inputs':'picture'}",
       "uses \"dense\" for an input of another size: its dense/kernel does not fit"},
      {"{'use':'nothing','inputs':'row'}", "layers[0].use: there is no layer \"nothing\" before"},
      {"{'type':'Dense','layer':{'units':3},'input':'row'}",
       "layers[0].input: unknown key; a layer has \"type\" and \"layer\""}};
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    char json[600];
    snprintf(json, sizeof json, "{" TWO "'layers':[%s]," REST "}", rows[i].layers);
    check_error(json, rows[i].error);
  }
  check_error("{" TWO "'size':[3],'layers':[{'type':'Flatten','inputs':'picture'}]," REST "}",
              "size: the sizes stand in \"inputs\"");
  check_error("{" TWO "'layers':[{'type':'Flatten','inputs':'picture'}],'outputs':['flat']," REST
              "}",
              "there is no layer \"flat\" before it, did you mean \"flatten\"?");
  check_error("{'inputs':{'x':{'size':[3],'dtype':'int8'}},'layers':[" DENSE("'units':2") "]," REST
                                                                                          "}",
              "must be \"float32\" or \"int32\"");
}

#define RESIDUAL                                                                                   \
  "'blocks':{'residual':{'options':{'units':4,'f':'relu'},'layers':["                              \
  "{'type':'Dense','layer':{'units':'$units','activation':'$f','name':'inner'}},"                  \
  "{'type':'Dense','layer':{'units':'$units'}},{'type':'Add','inputs':['dense','input']}]}},"

/* A block's layers stand in its place, under its name. */
static void test_blocks(void) {
  webml_model *m =
      load_quoted("{'size':[4]," RESIDUAL "'layers':[{'type':'residual'},"
                  "{'type':'residual','layer':{'name':'second','f':'tanh'}},"
                  "{'type':'residual'}," DENSE(
                      "'units':2") ","
                                   "{'type':'Dense','layer':{'units':2},'inputs':'second'},"
                                   "{'type':'Add','inputs':['dense','dense_1']}]," REST "}");
  if (!m) return;
  static const char *const names[] = {"residual_1.inner", "residual_1.dense", "residual_1.add",
                                      "second.inner"};
  for (int i = 0; i < 4; i++)
    CHECKF(strcmp(m->nodes[1 + i].name, names[i]) == 0, "%s", m->nodes[1 + i].name);
  CHECK(m->n_nodes == 13 && strcmp(m->nodes[7].name, "residual_2.inner") == 0);
  CHECK(m->nodes[6].inputs[0] == 5 && m->nodes[6].inputs[1] == 3); /* what the block reads */
  CHECK(wml_layer_activation(&m->layers[3]).kind == WML_TANH &&
        wml_layer_activation(&m->layers[6]).kind == WML_RELU);
  CHECK(m->nodes[11].inputs[0] == 6); /* a block's name is that of its last layer */
  webml_model_destroy(m);
  check_error("{'size':[4]," RESIDUAL "'layers':[{'type':'residual','layer':{'unit':3}}]," REST "}",
              "layers[0].layer.unit: the block \"residual\" has no such option");
  check_error("{'size':[3]," RESIDUAL "'layers':[{'type':'residual'}]," REST "}",
              "its inputs [4] and [3] do not fit");
  check_error("{'size':[4],'blocks':{'b':{'layers':[{'type':'ReLU','layer':{'max_value':'$m'}}]}},"
              "'layers':[{'type':'b'}]," REST "}",
              "the block has no option \"m\", which its layers use");
  check_error("{'size':[4],'blocks':{'Dense':{'layers':[{'type':'ReLU'}]}},"
              "'layers':[" DENSE("'units':2") "]," REST "}",
              "blocks.Dense: is the name of a layer");
}

/* Descriptions that are written as they are read, to the byte. */
static void test_round_trips(void) {
  static const char *const graphs[] = {
      "{" TWO "'layers':[{'type':'Flatten','inputs':['picture']}," DENSE(
          "'units':3") ","
                       "{'type':'Dense','layer':{'units':3,'name':'r'},'inputs':['row']},"
                       "{'type':'Maximum','inputs':['r','dense']},{'use':'r','name':'r_1','inputs':"
                       "['maximum']}],"
                       "'outputs':{'a':{'layer':'r_1','loss':'mse'},'b':{'layer':'dense','loss':'"
                       "mae',"
                       "'loss_weight':0.25,'metrics':['mse'],'columns':[1]}},'optimizer':'sgd'}",
      "{'size':[4]," RESIDUAL "'layers':[{'type':'residual','layer':{'units':4}},"
      "{'type':'residual','layer':{'name':'x'},'inputs':['input']},"
      "{'type':'Add','inputs':['residual_1','x']}]," REST "}",
      "{'inputs':{'ids':{'size':[6],'dtype':'int32'}},'layers':["
      "{'type':'Embedding','layer':{'input_dim':9,'output_dim':4,'embeddings_initializer':'ones'}},"
      "{'type':'Reshape','layer':{'target_shape':[-1,2]}},{'type':'Permute','layer':{'dims':[2,1]}}"
      ","
      "{'type':'PReLU','layer':{'alpha_initializer':'ones','shared_axes':[1]}},"
      "{'type':'ReLU','layer':{'max_value':2,'negative_slope':0.5,'threshold':0.25}},"
      "{'type':'ReLU'},{'type':'LeakyReLU','layer':{'alpha':0.125}},"
      "{'type':'ELU','layer':{'alpha':2}},{'type':'Activation','layer':{'activation':null}},"
      "{'type':'Dot','layer':{'axes':[-1,2],'normalize':true},'inputs':['activation','permute']},"
      "{'type':'Concatenate','layer':{'axis':1},'inputs':['dot','dot']},"
      "{'type':'ActivityRegularization','layer':{'l1':0.5,'l2':0.25}},"
      "{'type':'GaussianNoise','layer':{'stddev':0.5}},{'type':'Flatten'},"
      "{'type':'RepeatVector','layer':{'n':2}}]," REST "}"};
  for (size_t i = 0; i < sizeof graphs / sizeof *graphs; i++) {
    char *first = NULL, *second = NULL;
    webml_model *m = load_quoted(graphs[i]);
    if (!m) continue;
    CHECK_OK(webml_model_to_json(m, &first));
    webml_model *again = load(first);
    CHECK_OK(webml_model_to_json(again, &second));
    CHECKF(strcmp(first, second) == 0, "%s\n%s", first, second);
    CHECK(again && again->n_nodes == m->n_nodes && again->n_layers == m->n_layers);
    webml_free(first);
    webml_free(second);
    webml_model_destroy(again);
    webml_model_destroy(m);
  }
  webml_model *m = load_quoted(graphs[2]);
  char *text = NULL;
  CHECK_OK(webml_model_to_json(m, &text));
  static const char *const parts[] = {
      "\"target_shape\":[-1,2]",  "\"dims\":[2,1]",
      "\"shared_axes\":[1]",      "\"max_value\":2,",
      "\"negative_slope\":0.125", "\"axes\":[-1,2]",
      "\"dtype\":\"int32\"",      "\"layer\":{\"name\":\"re_lu_1\"}"};
  for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
    CHECKF(text && strstr(text, parts[i]), "%s in %s", parts[i], text ? text : "");
  webml_free(text);
  webml_model_destroy(m);
}

/* Keras's short names of initializers mean the long ones. */
static void test_aliases(void) {
  static const struct {
    const char *alias, *name;
  } rows[] = {{"zero", "zeros"},
              {"one", "ones"},
              {"uniform", "random_uniform"},
              {"Normal", "random_normal"}};
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    char json[200];
    snprintf(json, sizeof json, NET("[4]", DENSE("'units':2,'kernel_initializer':'%s'")),
             rows[i].alias);
    webml_model *m = load_quoted(json);
    CHECKF(m && strcmp(m->layers[0].params[0].initializer.name, rows[i].name) == 0, "%s", json);
    webml_model_destroy(m);
  }
}

/* A short text may use a block or a layer two thousand times: each gets the next name. */
static void test_many_uses(void) {
  enum { USES = 2000 };
  static const struct {
    const char *begin, *entry, *end, *last;
  } rows[] = {{"{'size':[4],'blocks':{'b':{'layers':[{'type':'Dense','layer':{'units':4}}]}},"
               "'layers':[{'type':'Flatten'}",
               ",{'type':'b'}", "]}", "b_2000.dense"},
              {"{'size':[4],'layers':[{'type':'Dense','layer':{'units':4,'name':'a'}}",
               ",{'use':'a'}", "]}", "a_2000"}};
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    size_t n = strlen(rows[i].entry), at = strlen(rows[i].begin);
    char *json = test_alloc(at + USES * n + 8);
    memcpy(json, rows[i].begin, at);
    for (int k = 0; k < USES; k++, at += n) memcpy(json + at, rows[i].entry, n);
    memcpy(json + at, rows[i].end, strlen(rows[i].end) + 1);
    webml_model *m = load_quoted(json);
    const char *last = m ? m->nodes[m->n_nodes - 1].name : "";
    CHECKF(strcmp(last, rows[i].last) == 0, "%s is not %s", last, rows[i].last);
    webml_model_destroy(m);
    free(json);
  }
}

int main(void) {
  test_shapes();
  test_layer_errors();
  test_wiring();
  test_wiring_errors();
  test_blocks();
  test_round_trips();
  test_aliases();
  test_many_uses();
  return test_report();
}
