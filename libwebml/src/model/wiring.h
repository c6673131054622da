/* From the lists of a description to layers and nodes. */
#ifndef WML_MODEL_WIRING_H
#define WML_MODEL_WIRING_H

#include "model/layer.h"

typedef struct wml_wiring {
  webml_model *m;
  wml_issues *issues;
  const wml_json *blocks;
  int *counts; /* [classes] names made so far */
  int layer_capacity, node_capacity;
  int n_blocks, depth; /* uses of blocks so far, and of those that are being read */
} wml_wiring;

/* Inputs, layers and their nodes, outputs. Shapes are not computed yet. */
webml_status wml_read_graph(webml_model *model, const wml_json *root, wml_issues *issues);
/* shapes.c: shapes, parameters and FLOPs of all nodes. */
webml_status wml_compute_shapes(webml_model *model, wml_issues *issues);

/* A member of the description; NULL where it is null, too. */
const wml_json *wml_given(const wml_json *root, const char *key);
/* A place that lives as long as the model. */
const wml_json_path *wml_keep_path(wml_arena *arena, wml_json_path path);
/* "columns" and the like: indices of columns, from 0. */
webml_status wml_read_indices(wml_arena *arena, const wml_json *json, const wml_json_path *place,
                              wml_index_list *out, wml_issues *issues);

/* blocks.c: the layers of a block with these options (NULL: its defaults) put in; NULL with an
 * issue under `place`, or where memory is short (issues->failed). */
const wml_json *wml_block_layers(wml_wiring *w, const char *block, const wml_json *options,
                                 const wml_json_path *place);
/* Checks "blocks" and keeps it. */
webml_status wml_read_blocks(wml_wiring *w, const wml_json *root);
bool wml_block_is(const wml_wiring *w, const char *name);

#endif
