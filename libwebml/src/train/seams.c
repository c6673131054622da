#include "train/seams.h"

#include "model/layer.h"

#include <stdio.h>
#include <string.h>

static const wml_json_path layers = {.key = "layers"}, size_place = {.key = "size"},
                           loss_place = {.key = "loss"};

/* ---- one row of outputs ---- */

/* A Dense that gets a picture works along its last axis, which is hardly meant. */
static int first_dense_on_picture(const webml_model *m) {
  for (int i = m->n_inputs; i < m->n_nodes; i++)
    if (wml_layer_is(wml_node_layer(m, i), "Dense") && m->nodes[i].n_inputs == 1 &&
        wml_node_in(m, &m->nodes[i], 0)->rank == 3)
      return i;
  return -1;
}

static void check_row(const webml_model *m, const wml_data_shape *data, wml_issues *issues) {
  char text[WML_SHAPE_TEXT], dense[96];
  wml_shape out = wml_model_output_shape(m);
  int at = first_dense_on_picture(m);
  if (out.rank <= 1 || m->outputs[0].node < 0) return;
  if (at >= 0) {
    const wml_json_path *place = m->nodes[at].place;
    wml_issue(issues, place, "gets the picture %s; a Flatten is missing before it",
              wml_shape_text(wml_node_in(m, &m->nodes[at], 0), text));
    wml_issue_cure(issues, "insert a Flatten before it");
    wml_patch_add(issues, place, "{\"type\":\"Flatten\"}");
    return;
  }
  wml_json_path place = *m->nodes[m->outputs[0].node].place, end = {.in = &layers, .key = "-"};
  place.note = NULL;
  wml_issue(issues, &place,
            "the model's output is the picture %s; it must end in one row of numbers",
            wml_shape_text(&out, text));
  wml_issue_cure(issues, "add Flatten and Dense at the end");
  wml_patch_add(issues, &end, "{\"type\":\"Flatten\"}");
  snprintf(dense, sizeof dense,
           "{\"type\":\"Dense\",\"layer\":{\"units\":null,\"activation\":\"%s\"}}",
           data && data->format == WML_FORMAT_CSV ? "linear" : "softmax");
  wml_patch_add(issues, &end, dense);
}

/* ---- loss and activation ---- */

/* A layer that is an activation, such as ReLU, becomes an Activation. */
static void replace_activation(wml_issues *issues, const wml_layer *l, const wml_json_path *place,
                               const char *name) {
  wml_text options = {0};
  wml_json_open(&options, '{');
  wml_json_key(&options, "activation");
  wml_json_string(&options, name);
  wml_json_key(&options, "name");
  wml_json_string(&options, l->name);
  wml_json_close(&options, '}');
  wml_issue_cure(issues, "use an Activation with %s in its place", name);
  wml_patch_set(issues, place, "type", "\"Activation\"");
  if (options.data && !options.failed) wml_patch_set(issues, place, "layer", options.data);
  wml_text_free(&options);
}

static void set_activation(wml_issues *issues, const wml_layer *l, const wml_json_path *place,
                           const char *name) {
  char value[40];
  if (!wml_layer_option(l, "activation")) {
    replace_activation(issues, l, place, name);
    return;
  }
  snprintf(value, sizeof value, "\"%s\"", name);
  wml_issue_cure(issues, "set the activation to %s", name);
  wml_patch_set(issues, WML_OPTIONS_OF(place), "activation", value);
}

static void set_loss(wml_issues *issues, wml_loss_kind kind) {
  char value[64];
  snprintf(value, sizeof value, "\"%s\"", wml_loss_name(kind));
  wml_issue_cure(issues, "set the loss to %s", wml_loss_name(kind));
  wml_patch_set(issues, NULL, "loss", value);
}

static bool is_probability(wml_activation_kind a) {
  return a == WML_SIGMOID || a == WML_HARD_SIGMOID || a == WML_SOFTMAX || a == WML_SPARSEMAX;
}

/* What training takes, and what is hardly meant. */
static void check_loss(const webml_model *m, wml_issues *issues) {
  const wml_model_output *output = &m->outputs[0];
  if (output->node < m->n_inputs) return;
  const wml_layer *l = wml_node_layer(m, output->node);
  if (output->loss_open || l->has_issues || !l->class) return;
  if (!wml_layer_option(l, "activation") && !l->class->activation) return;
  wml_json_path place = *m->nodes[output->node].place;
  wml_loss_kind loss = output->loss.kind;
  wml_activation_kind a = wml_layer_activation(l).kind;
  const wml_shape *out = &m->nodes[output->node].out;
  int64_t width = out->rank ? out->dim[out->rank - 1] : -1;
  bool of_classes = wml_loss_is_categorical(loss), binary = wml_loss_is_binary(loss);
  bool of_probabilities = loss == WML_KL_DIVERGENCE || loss == WML_DICE || loss == WML_TVERSKY;
  if (a == WML_SOFTMAX && width == 1) {
    wml_issue_warning(issues, &place, "softmax over one output is always 1");
    set_activation(issues, l, &place, "sigmoid");
    if (of_classes) {
      wml_patch_set(issues, NULL, "loss", "\"binary_crossentropy\"");
      wml_issue_cure(issues, "use sigmoid with the loss binary_crossentropy");
    }
  } else if (of_classes && width == 1) {
    wml_issue_warning(issues, &place, "%s of one output is always 0", wml_loss_name(loss));
    set_loss(issues, WML_BINARY_CROSSENTROPY);
  } else if (binary && a == WML_SOFTMAX) {
    wml_issue_warning(issues, &place, "softmax picks one class, but %s takes each output by itself",
                      wml_loss_name(loss));
    set_loss(issues, WML_CATEGORICAL_CROSSENTROPY);
  } else if (of_classes && a == WML_SIGMOID) {
    wml_issue_warning(issues, &place, "sigmoid takes each output by itself, but %s wants one class",
                      wml_loss_name(loss));
    set_activation(issues, l, &place, "softmax");
  } else if ((of_classes || binary || of_probabilities) && !output->loss.from_logits &&
             !is_probability(a)) {
    wml_issue_warning(issues, &place, "%s takes probabilities, which %s does not give",
                      wml_loss_name(loss), wml_activation_name(a));
    set_activation(issues, l, &place, binary || width == 1 ? "sigmoid" : "softmax");
  }
}

/* ---- model and data ---- */

static void check_units(const webml_model *m, const wml_data_shape *d, wml_issues *issues) {
  int at = wml_output_dense(m, 0), want = wml_data_outputs(m, d);
  char value[16];
  const wml_layer *l = at < 0 ? NULL : wml_node_layer(m, at);
  if (!l || l->broken) return;
  int units = *wml_output_units(m, 0);
  bool halved = wml_layer_activation(l).kind == WML_GLU;
  if (units == 0 || m->dynamic || units == want || halved) return;
  wml_json_path layer = *l->place, options = {.in = &layer, .key = "layer"},
                place = {.in = &options, .key = "units"};
  layer.note = NULL;
  wml_issue(issues, &place, "%d units, but the data set has %d %s", units, want,
            d->format == WML_FORMAT_IMAGES || d->is_classes ? "classes" : "outputs");
  snprintf(value, sizeof value, "%d", want);
  wml_issue_cure(issues, "set units to %s", value);
  wml_patch_set(issues, &options, "units", value);
}

static void check_size(const webml_model *m, const wml_data_shape *d, wml_issues *issues) {
  char value[32];
  wml_shape in = wml_model_input_shape(m);
  int64_t features = in.dim[0];
  if (in.rank == 0) return;
  if ((in.rank == 3) != (d->format == WML_FORMAT_IMAGES)) {
    wml_issue(issues, &size_place, "the model takes %s, but %s is %s",
              in.rank == 3 ? "pictures" : "a table", d->path,
              d->format == WML_FORMAT_IMAGES ? "a set of pictures" : "a table");
    wml_issue_cure(issues, d->format == WML_FORMAT_IMAGES ? "set size to [height, width, channels]"
                                                          : "set size to [null]");
    if (d->format == WML_FORMAT_CSV) wml_patch_replace(issues, &size_place, "[null]");
    return;
  }
  if (d->format != WML_FORMAT_CSV || m->dynamic || features < 0 || features == d->input_width)
    return;
  wml_issue(issues, &size_place, "the model takes %lld features, but the chosen columns give %d",
            (long long)features, d->input_width);
  snprintf(value, sizeof value, "[%d]", d->input_width);
  wml_issue_cure(issues, "set size to %s", value);
  wml_patch_replace(issues, &size_place, value);
}

/* Of a table height and width do not exist; of pictures they must be known. */
static void check_open_size(const webml_model *m, const wml_data_shape *d, wml_issues *issues) {
  char value[64];
  wml_shape in = wml_model_input_shape(m);
  const int64_t *dim = in.dim;
  if (d->format != WML_FORMAT_IMAGES || in.rank != 3 || (dim[0] > 0 && dim[1] > 0 && dim[2] > 0))
    return;
  snprintf(value, sizeof value, "[%lld,%lld,%lld]", dim[0] > 0 ? (long long)dim[0] : 64,
           dim[1] > 0 ? (long long)dim[1] : 64, dim[2] > 0 ? (long long)dim[2] : 3);
  wml_issue(issues, &size_place, "pictures need a height, a width and a number of channels");
  wml_issue_cure(issues, "set size, for example to %s", value);
  wml_patch_replace(issues, &size_place, value);
}

static void check_numbers(const webml_model *m, const wml_data_shape *d, wml_issues *issues) {
  wml_loss_kind loss = m->outputs[0].loss.kind;
  bool of_labels =
      wml_loss_is_binary(loss) || (wml_loss_is_categorical(loss) && !wml_loss_is_sparse(loss));
  if (m->outputs[0].loss_open || !of_labels || d->format != WML_FORMAT_CSV || d->is_binary) return;
  wml_issue_warning(issues, &loss_place, "%s is for classes, but the outputs are numbers",
                    wml_loss_name(loss));
  set_loss(issues, WML_MEAN_SQUARED_ERROR);
}

static void check_data(const webml_model *m, const wml_data_shape *d, wml_issues *issues) {
  if (d->format == WML_FORMAT_IMAGES && d->n_classes < 2) {
    wml_issue(issues, NULL, "%s has only one class; at least two are needed to learn anything",
              d->path);
    return;
  }
  int before = issues->count;
  check_size(m, d, issues);
  if (issues->count > before && d->format != m->format) return;
  check_open_size(m, d, issues);
  check_units(m, d, issues);
  check_numbers(m, d, issues);
  if (!m->outputs[0].loss_open && wml_loss_is_sparse(m->outputs[0].loss.kind) &&
      d->format == WML_FORMAT_CSV && !d->is_classes) {
    wml_issue(issues, &loss_place, "%s needs one label as the output",
              wml_loss_name(m->outputs[0].loss.kind));
    set_loss(issues, d->is_binary ? WML_BINARY_CROSSENTROPY : WML_MEAN_SQUARED_ERROR);
  }
}

void wml_check_seams(const webml_model *m, const wml_data_shape *data, wml_issues *issues) {
  if (m->n_nodes <= m->n_inputs || m->n_outputs == 0) return;
  check_row(m, data, issues);
  check_loss(m, issues);
  if (data) check_data(m, data, issues);
}
