/* A model as JSON: its description in normal form, and its summary. */
#include "model/fields.h"

static void write_indices(wml_text *t, const char *key, const wml_index_list *list) {
  if (list->n < 0) return;
  wml_json_key(t, key);
  wml_json_open(t, '[');
  for (int i = 0; i < list->n; i++) wml_json_int(t, list->items[i]);
  wml_json_close(t, ']');
}

static void write_shape(wml_text *t, const wml_shape *shape, bool batch) {
  wml_json_open(t, '[');
  if (batch) wml_json_null(t);
  for (int i = 0; i < shape->rank; i++) {
    if (shape->dim[i] < 0)
      wml_json_null(t);
    else
      wml_json_int(t, shape->dim[i]);
  }
  wml_json_close(t, ']');
}

void wml_model_write_json(wml_text *t, const webml_model *m) {
  wml_json_open(t, '{');
  if (m->name) wml_json_key(t, "name"), wml_json_string(t, m->name);
  wml_json_key(t, "format");
  wml_json_string(t, m->format == WML_FORMAT_IMAGES ? "images" : "csvdata");
  wml_json_key(t, "size");
  write_shape(t, &m->input, false);
  if (m->dataset) wml_json_key(t, "dataset"), wml_json_string(t, m->dataset);
  wml_json_key(t, "dynamic");
  wml_json_bool(t, m->dynamic);
  wml_json_key(t, "layers");
  wml_json_open(t, '[');
  for (int i = 0; i < m->n_layers; i++) {
    const wml_layer *l = &m->layers[i];
    wml_json_open(t, '{');
    wml_json_key(t, "type");
    wml_json_string(t, wml_layer_type_name(l->type));
    wml_json_key(t, "layer");
    wml_json_open(t, '{');
    const wml_layer_class *class = wml_layer_class_of(l->type);
    wml_fields_write(t, class->fields, class->n_fields, l);
    wml_json_close(t, '}');
    wml_json_close(t, '}');
  }
  wml_json_close(t, ']');
  wml_json_key(t, "optimizer");
  if (m->optimizer_open)
    wml_json_null(t);
  else
    wml_write_optimizer(t, &m->optimizer);
  wml_json_key(t, "loss");
  if (m->loss_open)
    wml_json_null(t);
  else
    wml_write_loss(t, &m->loss);
  wml_json_key(t, "metrics");
  wml_write_metrics(t, m);
  write_indices(t, "inputArray", &m->input_columns);
  write_indices(t, "outputArray", &m->output_columns);
  write_indices(t, "oneHotEncoding", &m->one_hot_columns);
  wml_json_close(t, '}');
}

webml_status webml_model_to_json(const webml_model *model, char **json) {
  if (!model || !json)
    return wml_fail(WEBML_ERROR_ARGUMENT, "webml_model_to_json: model and json must not be NULL");
  wml_text t = {0};
  wml_model_write_json(&t, model);
  return wml_text_take(&t, json);
}

static int64_t param_elements(const wml_param *p) {
  int64_t n = 1;
  for (int i = 0; i < p->rank; i++) n *= p->dim[i];
  return n;
}

static void write_layer(wml_text *t, const wml_layer *l, int64_t count) {
  wml_json_open(t, '{');
  wml_json_key(t, "name");
  wml_json_string(t, l->name);
  wml_json_key(t, "type");
  if (l->unknown)
    wml_json_null(t);
  else
    wml_json_string(t, wml_layer_type_name(l->type));
  wml_json_key(t, "activation");
  wml_json_string(t, wml_activation_name(l->activation.kind));
  wml_json_key(t, "output_shape");
  if (l->out.rank)
    write_shape(t, &l->out, true);
  else
    wml_json_null(t);
  wml_json_key(t, "parameters");
  wml_json_int(t, count);
  wml_json_key(t, "flops");
  wml_json_number(t, l->flops);
  wml_json_close(t, '}');
}

void wml_model_write_summary(wml_text *t, const webml_model *model) {
  int64_t all = 0, trainable = 0;
  double flops = 0.0;
  wml_json_key(t, "name");
  wml_json_string(t, model->name ? model->name : "model");
  wml_json_key(t, "input_shape");
  write_shape(t, &model->input, true);
  wml_json_key(t, "layers");
  wml_json_open(t, '[');
  for (int i = 0; i < model->n_layers; i++) {
    const wml_layer *l = &model->layers[i];
    int64_t count = 0;
    for (int k = 0; k < l->n_params; k++) {
      count += param_elements(&l->params[k]);
      if (l->params[k].trainable) trainable += param_elements(&l->params[k]);
    }
    all += count;
    flops += l->flops;
    write_layer(t, l, count);
  }
  wml_json_close(t, ']');
  wml_json_key(t, "parameters");
  wml_json_int(t, all);
  wml_json_key(t, "trainable");
  wml_json_int(t, trainable);
  wml_json_key(t, "flops");
  wml_json_number(t, flops);
  wml_json_key(t, "optimizer");
  wml_write_optimizer(t, &model->optimizer);
  wml_json_key(t, "loss");
  wml_write_loss(t, &model->loss);
}

webml_status webml_model_summary(const webml_model *model, char **json) {
  if (!model || !json)
    return wml_fail(WEBML_ERROR_ARGUMENT, "webml_model_summary: model and json must not be NULL");
  wml_text t = {0};
  wml_json_open(&t, '{');
  wml_model_write_summary(&t, model);
  wml_json_close(&t, '}');
  return wml_text_take(&t, json);
}
