/* Functional models: layers that say what they read, in any order. */
#include "model/keras_parts.h"

#include <string.h>

/* A tensor that a call reads: an output of the node-th call of a layer. */
typedef struct reference {
  const char *layer;
  int node, tensor;
  int target; /* the call that it means */
} reference;

typedef struct graph_call {
  int layer; /* in graph.layers; -1: it stands for the ends of the model */
  reference *reads;
  int n_reads;
  bool inference, done;
  wml_keras_tensors out;
} graph_call;

typedef struct graph_layer {
  const wml_json *json;
  int first, n; /* its calls */
  int least;    /* the number of the first: 1 where Keras counts the model's own */
} graph_layer;

typedef struct graph {
  wml_keras_translation *t;
  const wml_keras_scope *scope;
  graph_layer *layers;
  graph_call *calls;
  int n_layers, n_calls;
} graph;

/* ["name", node, tensor] and, in Keras 2, keyword arguments. */
static bool is_reference(const wml_json *v) {
  if (v->kind != WML_JSON_ARRAY || v->count < 3 || v->count > 4) return false;
  const wml_json *node = v->first->next;
  return v->first->kind == WML_JSON_STRING && node->kind == WML_JSON_NUMBER &&
         node->next->kind == WML_JSON_NUMBER;
}

static int index_of(const wml_json *v) {
  return v->number >= 0.0 && v->number <= WML_KERAS_MOST_CALLS ? (int)v->number : -1;
}

static const wml_json *reader_of(const graph *g, const graph_call *c) {
  return c->layer < 0 ? g->scope->model : g->layers[c->layer].json;
}

/* Keras 3 writes "training" where nobody gave it: the default of the layer's own. */
static bool is_default(const wml_json *layer, const wml_json *training) {
  const char *class_name = wml_tree_word(layer, "class_name");
  bool usual = strncmp(class_name, "Random", 6) == 0;
  return wml_keras_is_for_training(class_name) && training->boolean == usual;
}

/* Keyword arguments: none that changes what is computed. has_defaults: as in Keras 3. */
static void read_keywords(graph *g, graph_call *c, const wml_json *keywords, bool has_defaults) {
  bool is_object = keywords && keywords->kind == WML_JSON_OBJECT;
  for (const wml_json *k = is_object ? keywords->first : NULL; k; k = k->next) {
    bool training = strcmp(k->key, "training") == 0 && k->kind == WML_JSON_BOOL;
    if (k->kind == WML_JSON_NULL) continue;
    if (training && has_defaults && is_default(reader_of(g, c), k)) continue;
    if (training && !k->boolean)
      c->inference = true;
    else
      wml_keras_complain(g->t, reader_of(g, c), "is called with %.40s, which cannot be done here",
                         k->key);
  }
}

/* Adds the references in v; counts them only while reads is NULL. */
static void read_references(graph *g, graph_call *c, const wml_json *v) {
  if (++g->t->n_read > WML_KERAS_MOST_READ && !g->t->broken)
    WML_KERAS_BREAK(g->t, reader_of(g, c), "what the layers read is more than can be looked at");
  if (g->t->broken) return;
  if (strcmp(wml_tree_word(v, "class_name"), "__keras_tensor__") == 0)
    v = wml_json_get(wml_json_get(v, "config"), "keras_history");
  if (v && is_reference(v)) {
    const wml_json *node = v->first->next;
    if (c->reads) {
      c->reads[c->n_reads] =
          (reference){v->first->string, index_of(node), index_of(node->next), -1};
      read_keywords(g, c, node->next->next, false);
    }
    c->n_reads++;
  } else if (v && (v->kind == WML_JSON_ARRAY || v->kind == WML_JSON_OBJECT))
    for (const wml_json *item = v->first; item; item = item->next) read_references(g, c, item);
  else if (c->reads && (!v || v->kind != WML_JSON_NULL))
    WML_KERAS_BREAK(g->t, reader_of(g, c), "reads something that is not the result of a layer");
}

/* A node of Keras 3 has "args" and "kwargs". */
static void read_call(graph *g, graph_call *c, const wml_json *node) {
  const wml_json *args = wml_json_get(node, "args");
  const wml_json *v = args ? args : node;
  read_references(g, c, v);
  c->reads = wml_keras_alloc(g->t, (size_t)c->n_reads * sizeof *c->reads);
  c->n_reads = 0;
  if (!c->reads || g->t->broken) return;
  read_references(g, c, v);
  if (args) read_keywords(g, c, wml_json_get(node, "kwargs"), true);
}

static const wml_json *nodes_of(const wml_json *layer) {
  const wml_json *nodes = wml_json_get(layer, "inbound_nodes");
  return nodes && nodes->kind == WML_JSON_ARRAY && !wml_keras_is_input(layer) ? nodes : NULL;
}

static bool read_layers(graph *g) {
  const wml_json *list = wml_keras_layers(g->scope->model);
  double n_calls = 0;
  for (const wml_json *l = list->first; l; l = l->next)
    n_calls += nodes_of(l) ? nodes_of(l)->count : wml_keras_is_input(l);
  if (n_calls > WML_KERAS_MOST_CALLS || list->count > WML_KERAS_MOST_CALLS) {
    WML_KERAS_BREAK(g->t, g->scope->model, "has more than %d layers", WML_KERAS_MOST_CALLS);
    return false;
  }
  g->layers = wml_keras_alloc(g->t, (size_t)list->count * sizeof *g->layers);
  g->calls = wml_keras_alloc(g->t, (size_t)n_calls * sizeof *g->calls);
  if (!g->layers || !g->calls) return false;
  for (const wml_json *l = list->first; l; l = l->next) {
    const wml_json *nodes = nodes_of(l);
    int layer = g->n_layers++;
    g->layers[layer] =
        (graph_layer){l, g->n_calls, nodes ? nodes->count : wml_keras_is_input(l), 0};
    if (wml_keras_is_input(l)) g->calls[g->n_calls++] = (graph_call){.layer = layer, .done = true};
    for (const wml_json *node = nodes ? nodes->first : NULL; node; node = node->next) {
      graph_call *c = &g->calls[g->n_calls++];
      *c = (graph_call){.layer = layer};
      read_call(g, c, node);
    }
  }
  return !g->t->broken;
}

static graph_layer *find_layer(const graph *g, const char *name) {
  for (int i = 0; i < g->n_layers; i++)
    if (strcmp(wml_keras_name(g->layers[i].json), name) == 0) return &g->layers[i];
  return NULL;
}

/* Keras counts the calls of a model inside from 1 on: with 0 it was made. */
static void count_from(graph *g, const graph_call *c) {
  for (int i = 0; i < c->n_reads; i++) {
    graph_layer *l = find_layer(g, c->reads[i].layer);
    if (l && wml_keras_layers(l->json) && c->reads[i].node == l->n) l->least = 1;
  }
}

static void resolve(graph *g, graph_call *c) {
  for (int i = 0; i < c->n_reads; i++) {
    reference *r = &c->reads[i];
    const graph_layer *l = find_layer(g, r->layer);
    int node = l ? r->node - l->least : -1;
    if (!l || node < 0 || node >= l->n)
      WML_KERAS_BREAK(g->t, reader_of(g, c), "reads call %d of \"%.80s\", which there is not",
                      r->node, r->layer);
    else
      r->target = l->first + node;
  }
}

/* What the references mean, once the calls have been made. */
static wml_keras_tensors gather(graph *g, const graph_call *c) {
  wml_keras_tensors all = wml_keras_tensors_of(g->t, c->n_reads);
  for (int i = 0; i < all.n; i++) {
    const wml_keras_tensors *from = &g->calls[c->reads[i].target].out;
    int k = c->reads[i].tensor;
    all.names[i] = "";
    if (k < 0 || k >= from->n)
      WML_KERAS_BREAK(g->t, reader_of(g, c), "reads output %d of \"%.80s\", which has %d", k,
                      c->reads[i].layer, from->n);
    else
      all.names[i] = from->names[k];
  }
  return all;
}

static bool is_ready(const graph *g, const graph_call *c) {
  bool ready = true;
  for (int i = 0; i < c->n_reads; i++) ready &= g->calls[c->reads[i].target].done;
  return ready;
}

/* Makes the calls whose inputs are there, in the order of the list, until all are made. */
static void make_calls(graph *g) {
  int left = 1;
  for (int before = 0; left && left != before && !g->t->broken;) {
    before = left;
    left = 0;
    for (int i = 0; i < g->n_calls && !g->t->broken; i++) {
      graph_call *c = &g->calls[i];
      if (c->done) continue;
      const wml_json *layer = g->layers[c->layer].json;
      if (!is_ready(g, c)) {
        left++;
        continue;
      }
      wml_keras_tensors in = gather(g, c);
      if (!g->t->broken) c->out = wml_keras_call(g->t, g->scope, layer, &in, c->inference);
      c->done = true;
    }
  }
  for (int i = 0; i < g->n_calls && left && !g->t->broken; i++)
    if (!g->calls[i].done)
      WML_KERAS_BREAK(g->t, g->layers[g->calls[i].layer].json, "reads what depends on itself");
}

/* "input_layers", "output_layers": a reference, a list or an object of them. */
static graph_call ends_of(graph *g, const char *key) {
  graph_call ends = {.layer = -1};
  const wml_json *v = wml_json_get(wml_keras_config(g->scope->model), key);
  if (!v)
    WML_KERAS_BREAK(g->t, g->scope->model, "has no %s", key);
  else
    read_call(g, &ends, v);
  if (!g->t->broken && !ends.n_reads)
    WML_KERAS_BREAK(g->t, g->scope->model, "its %s are empty", key);
  return ends;
}

static void give_inputs(graph *g) {
  graph_call ends = ends_of(g, "input_layers");
  if (g->t->broken) return;
  resolve(g, &ends);
  if (g->t->broken) return;
  if (ends.n_reads != g->scope->in.n)
    WML_KERAS_BREAK(g->t, g->scope->model, "has %d inputs, but reads %d", ends.n_reads,
                    g->scope->in.n);
  for (int i = 0; i < ends.n_reads && !g->t->broken; i++) {
    graph_call *c = &g->calls[ends.reads[i].target];
    c->out = wml_keras_tensor(g->t, g->scope->in.names[i]);
    c->done = true;
  }
}

wml_keras_tensors wml_keras_graph(wml_keras_translation *t, const wml_keras_scope *s) {
  graph g = {.t = t, .scope = s};
  if (!read_layers(&g)) return (wml_keras_tensors){0};
  graph_call outputs = ends_of(&g, "output_layers");
  for (int i = 0; i < g.n_calls && !t->broken; i++) count_from(&g, &g.calls[i]);
  if (!t->broken) count_from(&g, &outputs);
  for (int i = 0; i < g.n_calls && !t->broken; i++) resolve(&g, &g.calls[i]);
  if (!t->broken) give_inputs(&g);
  if (!t->broken) make_calls(&g);
  if (!t->broken) resolve(&g, &outputs);
  return t->broken ? (wml_keras_tensors){0} : gather(&g, &outputs);
}

wml_keras_tensors wml_keras_ends(wml_keras_translation *t, const wml_keras_scope *s,
                                 const char *key) {
  graph g = {.t = t, .scope = s};
  graph_call ends = ends_of(&g, key);
  wml_keras_tensors names = wml_keras_tensors_of(t, t->broken ? 0 : ends.n_reads);
  for (int i = 0; i < names.n; i++) names.names[i] = ends.reads[i].layer;
  return names;
}
