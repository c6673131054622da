/* Shapes, parameters and FLOPs of a graph's nodes. */
#include "model/wiring.h"

#include <stdio.h>
#include <string.h>

const char *const wml_padding_words[] = {"valid", "same", NULL};

int64_t wml_window_output(int64_t n, int size, int stride, int dilation, wml_padding padding) {
  int64_t effective = (int64_t)(size - 1) * dilation + 1;
  if (padding == WML_PADDING_SAME) return (n + stride - 1) / stride;
  return n < effective ? 0 : (n - effective) / stride + 1;
}

void wml_window_pads(int64_t n, int size, int stride, int dilation, wml_padding padding,
                     int *before, int *after) {
  int64_t effective = (int64_t)(size - 1) * dilation + 1,
          out = wml_window_output(n, size, stride, dilation, padding);
  int64_t total = padding == WML_PADDING_SAME ? (out - 1) * stride + effective - n : 0;
  if (total < 0) total = 0;
  *before = (int)(total / 2);
  *after = (int)(total - total / 2);
}

int64_t wml_shape_elements(const wml_shape *shape) {
  int64_t n = 1;
  for (int i = 0; i < shape->rank; i++) {
    if (shape->dim[i] < 0) return -1;
    n *= shape->dim[i];
  }
  return n;
}

char *wml_shape_text(const wml_shape *shape, char text[WML_SHAPE_TEXT]) {
  int at = 0;
  text[0] = '\0';
  for (int i = 0; i < shape->rank; i++) {
    if (shape->dim[i] < 0)
      at += snprintf(text + at, (size_t)(WML_SHAPE_TEXT - at), "%s?", i ? "x" : "");
    else
      at += snprintf(text + at, (size_t)(WML_SHAPE_TEXT - at), "%s%lld", i ? "x" : "",
                     (long long)shape->dim[i]);
  }
  return text;
}

/* ---- parameters ---- */

/* Of a layer that is used again: the parameter that it has. */
static void check_param(const wml_shaping *s, const wml_param *have, const wml_param *want) {
  bool same = have->rank == want->rank;
  for (int d = 0; same && d < want->rank; d++) same = have->dim[d] == want->dim[d];
  if (!same)
    wml_issue(s->issues, s->place,
              "uses \"%.80s\" for an input of another size: its %.100s does not fit",
              s->layer->name, have->name);
}

/* A constraint's axes are those of the parameter, and as operations see it. */
static void check_axes(const wml_shaping *s, const wml_param *p) {
  if (p->constraint.kind == WML_NO_CONSTRAINT || p->constraint.kind == WML_NON_NEG) return;
  if (p->seen_rank)
    wml_issue(s->issues, s->place, "%s cannot have norms: only non_neg constrains it", p->name);
  else if (p->constraint.axes >> p->rank != 0)
    wml_issue(s->issues, s->place, "a constraint's axis is outside of %s, whose axes are 0 to %d",
              p->name, p->rank - 1);
  else
    return;
  wml_issue_cure(s->issues,
                 p->seen_rank ? "use non_neg, or none" : "leave axis out, or set it to 0");
}

webml_status wml_shaping_param(wml_shaping *s, const char *role, wml_param param) {
  wml_layer *layer = s->layer;
  int index = s->n_params++;
  if (index < layer->n_params) {
    check_param(s, &layer->params[index], &param);
    return WEBML_OK;
  }
  size_t n = strlen(layer->name) + strlen(role) + 2;
  char *name = wml_arena_alloc(s->arena, n);
  if (!name) return wml_no_memory(n, "a name");
  snprintf(name, n, "%s/%s", layer->name, role);
  param.name = name;
  param.trainable = layer->trainable && !param.statistic;
  check_axes(s, &param);
  layer->params[layer->n_params++] = param;
  return WEBML_OK;
}

bool wml_shaping_is_known(const wml_shaping *s) {
  for (int i = 0; i < s->n_inputs; i++)
    if (wml_shape_elements(&s->in[i]) < 0) return false;
  return true;
}

/* ---- what is wrong with a layer's inputs ---- */

static bool has_later(const webml_model *m, int from, const char *class) {
  for (int i = from; i < m->n_nodes; i++)
    if (wml_layer_is(wml_node_layer(m, i), class)) return true;
  return false;
}

/* The Flatten that a picture went through on its way to the node; -1. */
static int flatten_before(const webml_model *m, int node) {
  while (m->nodes[node].n_inputs == 1) {
    node = m->nodes[node].inputs[0];
    if (wml_layer_is(wml_node_layer(m, node), "Flatten") &&
        wml_node_in(m, &m->nodes[node], 0)->rank == 3)
      return node;
  }
  return -1;
}

/* A layer for pictures gets a row of numbers: by which layer, and what to do. */
static void refuse_rank(const webml_model *m, int node, const wml_shape *in, wml_issues *issues) {
  char text[WML_SHAPE_TEXT];
  const wml_layer_class *class = wml_node_layer(m, node)->class;
  const wml_json_path *place = m->nodes[node].place;
  wml_issue(issues, place, "takes %s, but its input is [%s]", class->takes,
            wml_shape_text(in, text));
  if (class->rank != 3 || in->rank != 1) return;
  int flat = flatten_before(m, node);
  if (flat < 0) {
    wml_issue_cure(issues, "it is for pictures: set size to [height, width, channels]");
    return;
  }
  const wml_json_path *there = m->nodes[flat].place;
  if (has_later(m, node + 1, "Flatten")) {
    wml_issue_cure(issues, "remove the Flatten before it, layers[%d]", there->index);
    wml_patch_remove(issues, there);
  } else {
    wml_issue_cure(issues, "move it before the Flatten, layers[%d]", there->index);
    wml_patch_move(issues, place, there);
  }
}

static int open_units(const wml_layer *l) {
  const int *units = l && l->class && !l->broken ? wml_layer_option(l, "units") : NULL;
  return units && *units == 0;
}

/* Open units are for what gives an output. */
static void check_open_units(const webml_model *m, int index, wml_issues *issues) {
  const wml_node *node = &m->nodes[index];
  if (node->n_inputs < 1 || !wml_layer_option(&m->layers[node->layer], "units")) return;
  const wml_layer *before = wml_node_layer(m, node->inputs[0]);
  if (!open_units(before)) return;
  wml_issue(issues, node->place,
            "follows a Dense with open units; only the last Dense may have units null");
  wml_issue_cure(issues, "set the units of layers[%d], for example to 64", before->place->index);
  wml_patch_set(issues, WML_OPTIONS_OF(before->place), "units", "64");
}

static void check_count(const wml_layer_class *class, const wml_node *node, wml_issues *issues) {
  int least = class->least_inputs ? class->least_inputs : 1,
      most = class->most_inputs ? class->most_inputs : 1;
  if (node->n_inputs < least && node->n_inputs > 0)
    wml_issue(issues, node->place, "takes at least %d inputs: \"inputs\": [\"...\", \"...\"]",
              least);
  else if (most > 0 && node->n_inputs > most)
    wml_issue(issues, node->place, "takes %s, not %d", most == 1 ? "one input" : "fewer inputs",
              node->n_inputs);
}

/* glu gives half of the features. */
static void halve_features(wml_shaping *s) {
  int64_t *last = &s->out.dim[s->out.rank - 1];
  if (*last > 0 && *last % 2)
    wml_issue(s->issues, s->place, "glu halves its %d features, which must be even", (int)*last);
  *last = *last > 0 ? *last / 2 : *last;
}

/* ---- shapes ---- */

/* What is known of an output without the input or the options: later layers are checked against
 * it, so that one error does not hide others and is not repeated. */
static wml_shape assumed(const wml_layer *l, const wml_shape *in) {
  wml_shape out = {0};
  if (!l->class) return out;
  out = l->class->gives ? (wml_shape){l->class->gives, {-1, -1, -1}} : *in;
  if (l->class->assume && out.rank) l->class->assume(l->options, &out);
  return out;
}

static void check_size(wml_shaping *s) {
  char text[WML_SHAPE_TEXT];
  if (wml_shape_elements(&s->out) <= (int64_t)1 << 31) return;
  wml_issue(s->issues, s->place, "an output of %s is too large", wml_shape_text(&s->out, text));
  wml_issue_cure(s->issues, "use fewer filters or units, or make the picture smaller before");
}

static webml_status call_class(wml_shaping *s, wml_node *node) {
  int before = s->issues->count;
  s->out = assumed(s->layer, &s->in[0]);
  s->out_dtype = WML_F32;
  WML_TRY(s->layer->class->shape(s));
  if (s->issues->count == before && wml_layer_activation(s->layer).kind == WML_GLU)
    halve_features(s);
  if (s->issues->count == before) check_size(s);
  if (s->issues->count > before) return WEBML_OK;
  node->out = s->out;
  node->dtype = s->out_dtype;
  node->flops = s->flops;
  return WEBML_OK;
}

/* Inputs of a wrong rank or type are refused; what follows is not known then. */
static bool inputs_fit(const webml_model *m, int index, const wml_shape *in, wml_issues *issues) {
  const wml_node *node = &m->nodes[index];
  const wml_layer_class *class = wml_node_layer(m, index)->class;
  for (int i = 0; i < node->n_inputs; i++) {
    if (class->rank && in[i].rank != class->rank) {
      refuse_rank(m, index, &in[i], issues);
      return false;
    }
    bool whole = m->nodes[node->inputs[i]].dtype == WML_I32;
    if (whole != class->takes_indices && !class->takes_any_type) {
      wml_issue(issues, node->place,
                whole ? "cannot compute with whole numbers; an Embedding makes vectors of them"
                      : "takes whole numbers: an input of the model with \"dtype\": \"int32\"");
      return false;
    }
  }
  return true;
}

static webml_status compute_shape(webml_model *m, int index, wml_issues *issues) {
  wml_node *node = &m->nodes[index];
  wml_layer *l = &m->layers[node->layer];
  wml_shape *in = wml_alloc((size_t)(node->n_inputs + 1) * sizeof *in);
  if (!in) return wml_no_memory((size_t)node->n_inputs * sizeof *in, "shapes");
  bool known = l->class && node->n_inputs > 0;
  in[0] = (wml_shape){0};
  for (int i = 0; i < node->n_inputs; i++) {
    in[i] = m->nodes[node->inputs[i]].out;
    known = known && in[i].rank > 0;
  }
  node->out = assumed(l, &in[0]);
  webml_status status = WEBML_OK;
  int before = issues->count;
  if (l->class) check_count(l->class, node, issues);
  if (known && issues->count == before) {
    if (!inputs_fit(m, index, in, issues))
      node->out = (wml_shape){0}; /* whatever is meant: it is not for later layers to complain */
    else {
      check_open_units(m, index, issues);
      wml_shaping s = {.model = m,
                       .node = index,
                       .layer = l,
                       .options = l->options,
                       .n_inputs = node->n_inputs,
                       .in = in,
                       .dtype = m->nodes[node->inputs[0]].dtype,
                       .place = node->place,
                       .issues = issues,
                       .arena = &m->arena};
      if (!l->broken) status = call_class(&s, node);
    }
  }
  wml_free(in);
  return status;
}

webml_status wml_compute_shapes(webml_model *m, wml_issues *issues) {
  for (int i = m->n_inputs; i < m->n_nodes; i++) WML_TRY(compute_shape(m, i, issues));
  return WEBML_OK;
}
