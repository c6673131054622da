/* TensorFlow.js layers-model: model.json with a Keras-2 style topology and one file of raw
 * little-endian floats. Names and layouts are Keras's, which are ours. */
#include "base/file.h"
#include "formats/export.h"

#include <errno.h>
#include <math.h>
#include <string.h>
#include <sys/stat.h>

static void pair(wml_text *t, const char *key, const int v[2]) {
  wml_json_key(t, key);
  wml_json_open(t, '[');
  wml_json_int(t, v[0]);
  wml_json_int(t, v[1]);
  wml_json_close(t, ']');
}

static void word(wml_text *t, const char *key, const char *value) {
  wml_json_key(t, key);
  wml_json_string(t, value);
}

static void flag(wml_text *t, const char *key, bool value) {
  wml_json_key(t, key);
  wml_json_bool(t, value);
}

/* TF.js's name of an activation; NULL where it has no such function. */
static const char *activation_name(const wml_activation *a) {
  switch (a->kind) {
  case WML_RELU:
    return a->alpha == 0.0f && a->threshold == 0.0f && isinf(a->max_value) ? "relu" : NULL;
  case WML_ELU: return a->alpha == 1.0f ? "elu" : NULL;
  case WML_LINEAR:
  case WML_RELU6:
  case WML_SELU:
  case WML_SIGMOID:
  case WML_TANH:
  case WML_SOFTPLUS:
  case WML_SOFTSIGN:
  case WML_SOFTMAX: return wml_activation_name(a->kind);
  case WML_LOG_SOFTMAX: return "logSoftmax";
  case WML_SILU: return "swish";
  case WML_MISH: return "mish";
  case WML_GELU: return "gelu";
  case WML_GELU_TANH: return "gelu_new";
  default: return NULL; /* its hardSigmoid is Keras 2's, with other knees */
  }
}

static webml_status write_activation(wml_text *t, const wml_layer *l) {
  const char *name = activation_name(&l->activation);
  if (!name)
    return wml_fail(WEBML_ERROR_UNSUPPORTED,
                    "layer \"%s\": TensorFlow.js has no activation like this %s", l->name,
                    wml_activation_name(l->activation.kind));
  word(t, "activation", name);
  return WEBML_OK;
}

static webml_status write_config(wml_text *t, const wml_layer *l) {
  static const char *const paddings[] = {"valid", "same"};
  switch (l->type) {
  case WML_LAYER_CONV2D:
    if (l->u.conv.groups != 1)
      return wml_fail(WEBML_ERROR_UNSUPPORTED,
                      "layer \"%s\": TensorFlow.js has no convolution in groups", l->name);
    wml_json_key(t, "filters");
    wml_json_int(t, l->u.conv.filters);
    pair(t, "kernel_size", l->u.conv.kernel_size);
    pair(t, "strides", l->u.conv.strides);
    pair(t, "dilation_rate", l->u.conv.dilation_rate);
    word(t, "padding", paddings[l->u.conv.padding]);
    flag(t, "use_bias", l->use_bias);
    return write_activation(t, l);
  case WML_LAYER_MAX_POOLING2D: {
    int strides[2];
    for (int i = 0; i < 2; i++) strides[i] = wml_pool_stride(l, i);
    pair(t, "pool_size", l->u.pool.pool_size);
    pair(t, "strides", strides);
    word(t, "padding", paddings[l->u.pool.padding]);
    return WEBML_OK;
  }
  case WML_LAYER_DENSE:
    wml_json_key(t, "units");
    wml_json_int(t, l->u.dense.units);
    flag(t, "use_bias", l->use_bias);
    return write_activation(t, l);
  case WML_LAYER_DROPOUT:
    wml_json_key(t, "rate");
    wml_json_number(t, (double)l->u.dropout.rate);
    return WEBML_OK;
  case WML_LAYER_BATCH_NORMALIZATION:
    wml_json_key(t, "axis");
    wml_json_int(t, -1);
    wml_json_key(t, "momentum");
    wml_json_number(t, (double)l->u.norm.momentum);
    wml_json_key(t, "epsilon");
    wml_json_number(t, (double)l->u.norm.epsilon);
    flag(t, "center", l->u.norm.center);
    flag(t, "scale", l->u.norm.scale);
    return WEBML_OK;
  default: return WEBML_OK;
  }
}

static void write_input_shape(wml_text *t, const webml_model *m) {
  wml_json_key(t, "batch_input_shape");
  wml_json_open(t, '[');
  wml_json_null(t);
  for (int d = 0; d < m->input.rank; d++) wml_json_int(t, m->input.dim[d]);
  wml_json_close(t, ']');
  word(t, "dtype", "float32");
}

/* Images come in as 0..255, as they do everywhere else. */
static void write_rescaling(wml_text *t, const webml_model *m) {
  wml_json_open(t, '{');
  word(t, "class_name", "Rescaling");
  wml_json_key(t, "config");
  wml_json_open(t, '{');
  word(t, "name", "rescaling");
  wml_json_key(t, "scale");
  wml_json_number(t, 1.0 / 255.0);
  wml_json_key(t, "offset");
  wml_json_int(t, 0);
  write_input_shape(t, m);
  wml_json_close(t, '}');
  wml_json_close(t, '}');
}

static webml_status write_layer(wml_text *t, const webml_model *m, int i) {
  const wml_layer *l = &m->layers[i];
  wml_json_open(t, '{');
  word(t, "class_name", wml_layer_type_name(l->type));
  wml_json_key(t, "config");
  wml_json_open(t, '{');
  word(t, "name", l->name);
  flag(t, "trainable", l->trainable);
  if (i == 0 && m->format == WML_FORMAT_CSV) write_input_shape(t, m);
  WML_TRY(write_config(t, l));
  wml_json_close(t, '}');
  wml_json_close(t, '}');
  return WEBML_OK;
}

static void write_manifest(wml_text *t, const webml_model *m) {
  wml_json_key(t, "weightsManifest");
  wml_json_open(t, '[');
  wml_json_open(t, '{');
  wml_json_key(t, "paths");
  wml_json_open(t, '[');
  wml_json_string(t, "model.weights.bin");
  wml_json_close(t, ']');
  wml_json_key(t, "weights");
  wml_json_open(t, '[');
  for (int i = 0; i < m->n_layers; i++)
    for (int k = 0; k < m->layers[i].n_params; k++) {
      const wml_param *p = &m->layers[i].params[k];
      wml_json_open(t, '{');
      word(t, "name", p->name);
      wml_json_key(t, "shape");
      wml_json_open(t, '[');
      for (int d = 0; d < p->rank; d++) wml_json_int(t, p->dim[d]);
      wml_json_close(t, ']');
      word(t, "dtype", "float32");
      wml_json_close(t, '}');
    }
  wml_json_close(t, ']');
  wml_json_close(t, '}');
  wml_json_close(t, ']');
}

static webml_status write_topology(wml_text *t, const webml_model *m) {
  wml_json_open(t, '{');
  word(t, "format", "layers-model");
  word(t, "generatedBy", "webml");
  wml_json_key(t, "convertedBy");
  wml_json_null(t);
  wml_json_key(t, "modelTopology");
  wml_json_open(t, '{');
  word(t, "keras_version", "2.15.0");
  word(t, "backend", "tensorflow");
  wml_json_key(t, "model_config");
  wml_json_open(t, '{');
  word(t, "class_name", "Sequential");
  wml_json_key(t, "config");
  wml_json_open(t, '{');
  word(t, "name", m->name ? m->name : "model");
  wml_json_key(t, "layers");
  wml_json_open(t, '[');
  if (m->format == WML_FORMAT_IMAGES) write_rescaling(t, m);
  for (int i = 0; i < m->n_layers; i++) WML_TRY(write_layer(t, m, i));
  wml_json_close(t, ']');
  wml_json_close(t, '}');
  wml_json_close(t, '}');
  wml_json_close(t, '}');
  write_manifest(t, m);
  wml_json_close(t, '}');
  return WEBML_OK;
}

static webml_status write_floats(const wml_weights *w, const char *path) {
  wml_atomic_file f;
  WML_TRY(wml_atomic_open(path, &f));
  webml_status status = WEBML_OK;
  for (int i = 0; i < w->model->n_layers; i++)
    for (int k = 0; k < w->model->layers[i].n_params && status == WEBML_OK; k++) {
      const wml_named_tensor *t =
          wml_safetensors_find(&w->file, w->model->layers[i].params[k].name);
      status = wml_atomic_write(&f, t->data, (size_t)wml_named_elements(t) * sizeof(float));
    }
  if (status == WEBML_OK) return wml_atomic_commit(&f);
  wml_atomic_abandon(&f);
  return status;
}

webml_status wml_export_tfjs(const wml_weights *w, const char *folder) {
  wml_text t = {0};
  webml_status status = write_topology(&t, w->model);
  if (status == WEBML_OK && t.failed) status = wml_no_memory(t.length, "model.json");
  if (status == WEBML_OK && mkdir(folder, 0777) != 0 && errno != EEXIST)
    status = wml_fail(WEBML_ERROR_IO, "cannot make the folder %s: %s", folder, strerror(errno));
  char *floats = wml_path_join(folder, "model.weights.bin");
  char *topology = wml_path_join(folder, "model.json");
  if (status == WEBML_OK && (!floats || !topology)) status = wml_no_memory(1, "a path");
  if (status == WEBML_OK) status = write_floats(w, floats);
  if (status == WEBML_OK)
    status = wml_file_write(topology, t.data, t.length); /* last: it makes the export whole */
  wml_free(floats);
  wml_free(topology);
  wml_text_free(&t);
  return status;
}
