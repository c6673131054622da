#include "train/seams.h"

#include <stdio.h>
#include <string.h>

static const wml_json_path layers = {.key = "layers"}, size_place = {.key = "size"},
                           loss_place = {.key = "loss"};

/* ---- one row of outputs ---- */

/* A Dense that gets a picture works along its last axis, which is hardly meant. */
static int first_dense_on_picture(const webml_model *m) {
  for (int i = 0; i < m->n_layers; i++)
    if (!m->layers[i].unknown && m->layers[i].type == WML_LAYER_DENSE && m->layers[i].in.rank == 3)
      return i;
  return -1;
}

static void check_row(const webml_model *m, const wml_data_shape *data, wml_issues *issues) {
  char text[WML_SHAPE_TEXT], dense[96];
  wml_shape out = wml_model_output(m);
  int at = first_dense_on_picture(m), last = m->n_layers - 1;
  if (out.rank <= 1) return;
  if (at >= 0) {
    wml_json_path place = {.in = &layers, .index = at, .note = "Dense"};
    wml_issue(issues, &place, "gets the picture %s; a Flatten is missing before it",
              wml_shape_text(&m->layers[at].in, text));
    wml_issue_cure(issues, "insert a Flatten before it");
    wml_patch_add(issues, &place, "{\"type\":\"Flatten\"}");
    return;
  }
  wml_json_path place = {.in = &layers, .index = last}, end = {.in = &layers, .key = "-"};
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

static void set_activation(wml_issues *issues, const wml_json_path *layer, const char *name) {
  char value[40];
  snprintf(value, sizeof value, "\"%s\"", name);
  wml_issue_cure(issues, "set the activation to %s", name);
  wml_patch_set(issues, WML_OPTIONS_OF(layer), "activation", value);
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
  int last = m->n_layers - 1;
  const wml_layer *l = &m->layers[last];
  bool linear =
      !l->unknown && !l->has_issues && (l->type == WML_LAYER_DENSE || l->type == WML_LAYER_CONV2D);
  if (m->loss_open || !linear) return;
  wml_json_path place = {.in = &layers, .index = last, .note = wml_layer_type_name(l->type)};
  wml_loss_kind loss = m->loss.kind;
  wml_activation_kind a = l->activation.kind;
  int64_t width = l->out.rank ? l->out.dim[l->out.rank - 1] : -1;
  bool of_classes =
      loss == WML_CATEGORICAL_CROSSENTROPY || loss == WML_SPARSE_CATEGORICAL_CROSSENTROPY;
  bool cross = of_classes || loss == WML_BINARY_CROSSENTROPY;
  if (a == WML_SOFTMAX && width == 1) {
    wml_issue_warning(issues, &place, "softmax over one output is always 1");
    set_activation(issues, &place, "sigmoid");
    if (of_classes) set_loss(issues, WML_BINARY_CROSSENTROPY);
    if (of_classes) wml_patch_set(issues, WML_OPTIONS_OF(&place), "activation", "\"sigmoid\"");
  } else if (of_classes && width == 1) {
    wml_issue_warning(issues, &place, "%s of one output is always 0", wml_loss_name(loss));
    set_loss(issues, WML_BINARY_CROSSENTROPY);
  } else if (loss == WML_BINARY_CROSSENTROPY && a == WML_SOFTMAX) {
    wml_issue_warning(issues, &place, "softmax picks one class, but %s takes each output by itself",
                      wml_loss_name(loss));
    set_loss(issues, WML_CATEGORICAL_CROSSENTROPY);
  } else if (of_classes && a == WML_SIGMOID) {
    wml_issue_warning(issues, &place, "sigmoid takes each output by itself, but %s wants one class",
                      wml_loss_name(loss));
    set_activation(issues, &place, "softmax");
  } else if ((cross && !m->loss.from_logits && !is_probability(a)) ||
             (loss == WML_KL_DIVERGENCE && !is_probability(a))) {
    wml_issue_warning(issues, &place, "%s takes probabilities, which %s does not give",
                      wml_loss_name(loss), wml_activation_name(a));
    set_activation(issues, &place,
                   loss == WML_BINARY_CROSSENTROPY || width == 1 ? "sigmoid" : "softmax");
  }
}

/* ---- model and data ---- */

static void check_units(const webml_model *m, const wml_data_shape *d, wml_issues *issues) {
  int at = wml_last_dense(m), want = wml_data_outputs(m, d);
  char value[16];
  if (at < 0 || m->layers[at].broken) return;
  int units = m->layers[at].u.dense.units;
  bool halved = m->layers[at].activation.kind == WML_GLU;
  if (units == 0 || m->dynamic || units == want || halved) return;
  wml_json_path layer = {.in = &layers, .index = at}, options = {.in = &layer, .key = "layer"},
                place = {.in = &options, .key = "units"};
  wml_issue(issues, &place, "%d units, but the data set has %d %s", units, want,
            d->format == WML_FORMAT_IMAGES || d->is_classes ? "classes" : "outputs");
  snprintf(value, sizeof value, "%d", want);
  wml_issue_cure(issues, "set units to %s", value);
  wml_patch_set(issues, &options, "units", value);
}

static void check_size(const webml_model *m, const wml_data_shape *d, wml_issues *issues) {
  char value[32];
  int64_t features = m->input.dim[0];
  if (m->input.rank == 0) return;
  if ((m->input.rank == 3) != (d->format == WML_FORMAT_IMAGES)) {
    wml_issue(issues, &size_place, "the model takes %s, but %s is %s",
              m->input.rank == 3 ? "pictures" : "a table", d->path,
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

static void check_data(const webml_model *m, const wml_data_shape *d, wml_issues *issues) {
  if (d->format == WML_FORMAT_IMAGES && d->n_classes < 2) {
    wml_issue(issues, NULL, "%s has only one class; at least two are needed to learn anything",
              d->path);
    return;
  }
  int before = issues->count;
  check_size(m, d, issues);
  if (issues->count > before && d->format != m->format) return;
  check_units(m, d, issues);
  if (!m->loss_open && m->loss.kind == WML_SPARSE_CATEGORICAL_CROSSENTROPY &&
      d->format == WML_FORMAT_CSV && !d->is_classes) {
    wml_issue(issues, &loss_place, "sparse_categorical_crossentropy needs one label as the output");
    set_loss(issues, d->is_binary ? WML_BINARY_CROSSENTROPY : WML_MEAN_SQUARED_ERROR);
  }
}

void wml_check_seams(const webml_model *m, const wml_data_shape *data, wml_issues *issues) {
  if (m->n_layers == 0) return;
  check_row(m, data, issues);
  check_loss(m, issues);
  if (data) check_data(m, data, issues);
}
