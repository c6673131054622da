/* Shaping a model to a data set: what is open is filled in, and said. */
#include "data/dataset.h"

#include <stdio.h>
#include <string.h>

typedef struct fit {
  webml_model changed; /* shallow copy with the open parts filled in */
  wml_layer *layers;
  wml_text said;
} fit;

static void say(fit *f, const char *sentence) {
  wml_text_format(&f->said, "%s%s", f->said.length ? "\n" : "", sentence);
}

static wml_layer *last_dense(fit *f) {
  for (int i = f->changed.n_layers - 1; i >= 0; i--)
    if (f->layers[i].type == WML_LAYER_DENSE) return &f->layers[i];
  return NULL;
}

static webml_status set_units(fit *f, int64_t width, const char *what) {
  wml_layer *dense = last_dense(f);
  char text[160];
  if (!dense)
    return wml_fail(WEBML_ERROR_MODEL,
                    "the model has no Dense layer whose units could be shaped to the %lld outputs",
                    (long long)width);
  if (dense->u.dense.units == width) return WEBML_OK;
  if (dense->u.dense.units && !f->changed.dynamic)
    return wml_fail(WEBML_ERROR_MODEL,
                    "layer \"%s\" has %d units, but the data set has %lld outputs (%s); set units "
                    "to %lld or to null",
                    dense->name, dense->u.dense.units, (long long)width, what, (long long)width);
  snprintf(text, sizeof text, "units of \"%.40s\": %lld (%.60s)", dense->name, (long long)width,
           what);
  say(f, text);
  dense->u.dense.units = (int)width;
  return WEBML_OK;
}

static void choose_compile(fit *f, wml_loss_kind loss) {
  char text[96];
  if (f->changed.loss_open) {
    f->changed.loss = (wml_loss){.kind = loss, .delta = 1.0f};
    f->changed.loss_open = false;
    snprintf(text, sizeof text, "loss: %s", wml_loss_name(loss));
    say(f, text);
  }
  if (f->changed.optimizer_open) {
    f->changed.optimizer_open = false;
    say(f, "optimizer: adam");
  }
  if (f->changed.n_metrics == 0 && loss != WML_MEAN_SQUARED_ERROR)
    f->changed.metrics[f->changed.n_metrics++] =
        (wml_metric_spec){"accuracy", true, {WML_BINARY_ACCURACY, 5, 0.5f}};
  else if (f->changed.n_metrics == 0)
    f->changed.metrics[f->changed.n_metrics++] =
        (wml_metric_spec){"mean_absolute_error", false, {WML_METRIC_MAE, 5, 0.5f}};
}

static webml_status shape_images(fit *f, const webml_dataset *d) {
  wml_layer *dense = last_dense(f);
  bool sigmoid = dense && dense->u.dense.units == 1 && d->pictures.n_classes == 2;
  if (d->pictures.n_classes < 2)
    return wml_fail(WEBML_ERROR_DATA,
                    "%s has only one class, \"%s\"; at least two are needed to learn anything",
                    d->path, d->pictures.classes[0]);
  if (!sigmoid) WML_TRY(set_units(f, d->pictures.n_classes, "the number of classes"));
  choose_compile(f, sigmoid ? WML_BINARY_CROSSENTROPY : WML_CATEGORICAL_CROSSENTROPY);
  return WEBML_OK;
}

static webml_status set_input(fit *f, int64_t width) {
  char text[96];
  wml_shape *in = &f->changed.input;
  if (in->rank != 1)
    return wml_fail(WEBML_ERROR_MODEL, "size: a model for tables has one dimension, [features]");
  if (in->dim[0] == width) return WEBML_OK;
  if (in->dim[0] >= 0 && !f->changed.dynamic)
    return wml_fail(WEBML_ERROR_MODEL,
                    "size: the model takes %lld features, but the chosen input columns give %lld; "
                    "set size to [%lld] or [null]",
                    (long long)in->dim[0], (long long)width, (long long)width);
  snprintf(text, sizeof text, "size: %lld features after encoding", (long long)width);
  say(f, text);
  in->dim[0] = width;
  return WEBML_OK;
}

/* The changed copy as a model of its own, through its description: every check runs again. */
static webml_status build(fit *f, webml_model **shaped) {
  wml_text t = {0};
  f->changed.dynamic = false;
  wml_model_write_json(&t, &f->changed);
  webml_status status =
      t.failed ? wml_no_memory(t.length, "the model") : webml_model_parse(t.data, t.length, shaped);
  wml_text_free(&t);
  return status;
}

static webml_status fill_from_pipeline(fit *f, const wml_pipeline *p) {
  bool classes = wml_pipeline_is_classes(p), binary = true;
  for (int i = 0; i < p->n_outputs; i++) binary &= !wml_encoder_is_number(&p->outputs[i]);
  WML_TRY(set_input(f, p->input_width));
  WML_TRY(set_units(f, p->output_width,
                    classes ? "the labels of the output" : "the outputs after encoding"));
  choose_compile(f, classes  ? WML_CATEGORICAL_CROSSENTROPY
                    : binary ? WML_BINARY_CROSSENTROPY
                             : WML_MEAN_SQUARED_ERROR);
  return WEBML_OK;
}

/* The chosen columns are kept in the model. */
static webml_status shape_table(fit *f, const webml_dataset *d, const webml_model *model,
                                webml_model **shaped) {
  wml_selection s;
  wml_pipeline p = {0};
  WML_TRY(wml_dataset_select(d, model, &s));
  int *one_hot = wml_calloc((size_t)d->table.n_columns, sizeof *one_hot), n = 0;
  wml_row_split split = {0};
  webml_status status =
      one_hot ? wml_table_split(&d->table, &s, &d->split, WML_PART_TRAINING, &split)
              : wml_no_memory((size_t)d->table.n_columns * sizeof *one_hot, "columns");
  if (status == WEBML_OK) status = wml_pipeline_fit(&d->table, &s, &split, &p);
  wml_row_split_free(&split);
  if (status != WEBML_OK) status = wml_prefix(status, "%s", d->path);
  if (status == WEBML_OK) status = fill_from_pipeline(f, &p);
  if (status == WEBML_OK) {
    for (int i = 0; i < d->table.n_columns; i++)
      if (s.one_hot[i]) one_hot[n++] = i;
    f->changed.input_columns = (wml_index_list){s.n_inputs, s.inputs};
    f->changed.output_columns = (wml_index_list){s.n_outputs, s.outputs};
    f->changed.one_hot_columns = (wml_index_list){n, one_hot};
    status = build(f, shaped);
  }
  wml_free(one_hot);
  wml_selection_free(&s);
  wml_pipeline_free(&p);
  return status;
}

webml_status webml_model_shape_to(const webml_model *model, const webml_dataset *d,
                                  webml_model **shaped, char **chosen) {
  if (!model || !d || !shaped)
    return wml_fail(WEBML_ERROR_ARGUMENT,
                    "webml_model_shape_to: model, dataset and shaped must not be NULL");
  if (model->format != d->format)
    return wml_fail(WEBML_ERROR_MISMATCH, "the model takes %s, but %s is %s",
                    model->format == WML_FORMAT_IMAGES ? "images" : "a table", d->path,
                    d->format == WML_FORMAT_IMAGES ? "a set of images" : "a table");
  fit f = {.said = {0}};
  size_t bytes = (size_t)model->n_layers * sizeof *f.layers;
  memcpy(&f.changed, model, sizeof f.changed);
  f.layers = wml_alloc(bytes);
  if (!f.layers) return wml_no_memory(bytes, "layers");
  memcpy(f.layers, model->layers, bytes);
  f.changed.layers = f.layers;
  webml_status status;
  if (d->format == WML_FORMAT_CSV)
    status = shape_table(&f, d, model, shaped);
  else {
    status = shape_images(&f, d);
    if (status == WEBML_OK) status = build(&f, shaped);
  }
  wml_free(f.layers);
  if (status == WEBML_OK && chosen) {
    wml_text_string(&f.said, "");
    status = wml_text_take(&f.said, chosen);
    if (status != WEBML_OK) webml_model_destroy(*shaped);
  }
  wml_text_free(&f.said);
  return status;
}
