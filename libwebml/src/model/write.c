/* A model as JSON: its description in normal form, and its summary. */
#include "model/layer.h"

#include <string.h>

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

/* ---- layers ---- */

static void write_wires(wml_text *t, const webml_model *m, const wml_node *node) {
  if (!node->is_wired) return;
  wml_json_key(t, "inputs");
  wml_json_open(t, '[');
  for (int i = 0; i < node->n_inputs; i++) wml_json_string(t, m->nodes[node->inputs[i]].name);
  wml_json_close(t, ']');
}

static void write_options(wml_text *t, const wml_layer *l) {
  wml_json_key(t, "type");
  wml_json_string(t, l->class->name);
  wml_json_key(t, "layer");
  wml_json_open(t, '{');
  wml_fields_write(t, l->class->fields, l->class->n_fields, l->options);
  wml_json_close(t, '}');
}

static void write_entry(wml_text *t, const webml_model *m, const wml_layer_entry *e) {
  const wml_node *node = &m->nodes[e->node];
  const wml_layer *l = &m->layers[node->layer];
  wml_json_open(t, '{');
  if (e->block) {
    wml_json_key(t, "type");
    wml_json_string(t, e->block);
    wml_json_key(t, "layer");
    wml_json_raw(t, e->options);
    node = &e->wires;
  } else if (node->is_use) {
    wml_json_key(t, "use");
    wml_json_string(t, l->name);
    wml_json_key(t, "name");
    wml_json_string(t, node->name);
  } else
    write_options(t, l);
  write_wires(t, m, node);
  wml_json_close(t, '}');
}

/* ---- inputs and outputs ---- */

static void write_inputs(wml_text *t, const webml_model *m) {
  if (!m->names_inputs) {
    wml_json_key(t, "size");
    write_shape(t, &m->nodes[0].out, false);
    return;
  }
  wml_json_key(t, "inputs");
  wml_json_open(t, '{');
  for (int i = 0; i < m->n_inputs; i++) {
    wml_json_key(t, m->inputs[i].name);
    wml_json_open(t, '{');
    wml_json_key(t, "size");
    write_shape(t, &m->nodes[i].out, false);
    if (m->nodes[i].dtype == WML_I32) wml_json_key(t, "dtype"), wml_json_string(t, "int32");
    write_indices(t, "columns", &m->inputs[i].columns);
    wml_json_close(t, '}');
  }
  wml_json_close(t, '}');
}

static void write_loss(wml_text *t, const wml_model_output *out) {
  wml_json_key(t, "loss");
  if (out->loss_open)
    wml_json_null(t);
  else
    wml_write_loss(t, &out->loss);
}

static void write_output(wml_text *t, const webml_model *m, const wml_model_output *out) {
  wml_json_key(t, out->name);
  wml_json_open(t, '{');
  wml_json_key(t, "layer");
  wml_json_string(t, m->nodes[out->node].name);
  write_loss(t, out);
  if (out->loss_weight != 1.0f) {
    wml_json_key(t, "loss_weight");
    wml_text_format(t, "%.9g", (double)out->loss_weight);
  }
  wml_json_key(t, "metrics");
  wml_write_metrics(t, out->metrics, out->n_metrics);
  write_indices(t, "columns", &out->columns);
  wml_json_close(t, '}');
}

static void write_outputs(wml_text *t, const webml_model *m) {
  wml_json_key(t, "outputs");
  wml_json_open(t, '{');
  for (int i = 0; i < m->n_outputs; i++) write_output(t, m, &m->outputs[i]);
  wml_json_close(t, '}');
}

void wml_model_write_json(wml_text *t, const webml_model *m) {
  wml_json_open(t, '{');
  if (m->name) wml_json_key(t, "name"), wml_json_string(t, m->name);
  wml_json_key(t, "format");
  wml_json_string(t, m->format == WML_FORMAT_IMAGES ? "images" : "csvdata");
  write_inputs(t, m);
  if (m->dataset) wml_json_key(t, "dataset"), wml_json_string(t, m->dataset);
  wml_json_key(t, "dynamic");
  wml_json_bool(t, m->dynamic);
  if (m->blocks) wml_json_key(t, "blocks"), wml_json_raw(t, m->blocks);
  wml_json_key(t, "layers");
  wml_json_open(t, '[');
  for (int i = 0; i < m->n_entries; i++) write_entry(t, m, &m->entries[i]);
  wml_json_close(t, ']');
  wml_json_key(t, "optimizer");
  if (m->optimizer_open)
    wml_json_null(t);
  else
    wml_write_optimizer(t, &m->optimizer);
  if (m->names_outputs)
    write_outputs(t, m);
  else {
    write_loss(t, &m->outputs[0]);
    wml_json_key(t, "metrics");
    wml_write_metrics(t, m->outputs[0].metrics, m->outputs[0].n_metrics);
  }
  if (!m->names_inputs) write_indices(t, "inputArray", &m->inputs[0].columns);
  if (!m->names_outputs) write_indices(t, "outputArray", &m->outputs[0].columns);
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

/* ---- summary ---- */

static void write_node(wml_text *t, const webml_model *m, const wml_node *node, int64_t count) {
  const wml_layer *l = &m->layers[node->layer];
  wml_json_open(t, '{');
  wml_json_key(t, "name");
  wml_json_string(t, node->name);
  wml_json_key(t, "type");
  if (l->class)
    wml_json_string(t, l->class->name);
  else
    wml_json_null(t);
  wml_json_key(t, "activation");
  wml_json_string(t, wml_activation_name(wml_layer_activation(l).kind));
  wml_json_key(t, "output_shape");
  if (node->out.rank)
    write_shape(t, &node->out, true);
  else
    wml_json_null(t);
  wml_json_key(t, "parameters");
  wml_json_int(t, count);
  wml_json_key(t, "flops");
  wml_json_number(t, node->flops);
  wml_json_key(t, "inputs");
  wml_json_open(t, '[');
  for (int i = 0; i < node->n_inputs; i++) wml_json_string(t, m->nodes[node->inputs[i]].name);
  wml_json_close(t, ']');
  wml_json_close(t, '}');
}

/* Elements of the parameters, each counted where its layer is used first. */
static int64_t count_params(const wml_layer *l, bool trainable) {
  int64_t count = 0;
  for (int k = 0; k < l->n_params; k++)
    if (l->params[k].trainable || !trainable) count += param_elements(&l->params[k]);
  return count;
}

static void write_shapes(wml_text *t, const char *key, int n, const char *const *names,
                         const wml_shape *const *shapes) {
  wml_json_key(t, key);
  wml_json_open(t, '{');
  for (int i = 0; i < n; i++) wml_json_key(t, names[i]), write_shape(t, shapes[i], true);
  wml_json_close(t, '}');
}

/* Inputs and outputs by name, where there are several. */
static void write_ends(wml_text *t, const webml_model *m) {
  const char *names[WML_MAX_ENDS];
  const wml_shape *shapes[WML_MAX_ENDS];
  if (!m->names_inputs && !m->names_outputs) return;
  for (int i = 0; i < m->n_inputs; i++) names[i] = m->inputs[i].name, shapes[i] = &m->nodes[i].out;
  write_shapes(t, "inputs", m->n_inputs, names, shapes);
  for (int i = 0; i < m->n_outputs; i++) {
    if (m->outputs[i].node < 0) return;
    names[i] = m->outputs[i].name;
    shapes[i] = &m->nodes[m->outputs[i].node].out;
  }
  write_shapes(t, "outputs", m->n_outputs, names, shapes);
}

void wml_model_write_summary(wml_text *t, const webml_model *m) {
  int64_t all = 0, trainable = 0;
  double flops = 0.0;
  wml_shape input = wml_model_input_shape(m);
  wml_json_key(t, "name");
  wml_json_string(t, m->name ? m->name : "model");
  wml_json_key(t, "input_shape");
  write_shape(t, &input, true);
  write_ends(t, m);
  wml_json_key(t, "layers");
  wml_json_open(t, '[');
  for (int i = m->n_inputs; i < m->n_nodes; i++) {
    const wml_node *node = &m->nodes[i];
    const wml_layer *l = &m->layers[node->layer];
    int64_t count = node->is_use ? 0 : count_params(l, false);
    if (!node->is_use) trainable += count_params(l, true);
    all += count;
    flops += node->flops;
    write_node(t, m, node, count);
  }
  wml_json_close(t, ']');
  wml_json_key(t, "parameters");
  wml_json_int(t, all);
  wml_json_key(t, "trainable");
  wml_json_int(t, trainable);
  wml_json_key(t, "flops");
  wml_json_number(t, flops);
  wml_json_key(t, "optimizer");
  wml_write_optimizer(t, &m->optimizer);
  wml_json_key(t, "loss");
  if (m->n_outputs)
    wml_write_loss(t, &m->outputs[0].loss);
  else
    wml_json_null(t); /* of what is no description at all */
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
