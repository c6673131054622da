/* Embedding: whole numbers [..] -> [.., output_dim]: for each the row of a table that is learned.
 * Numbers outside of 0 to input_dim - 1 give zeros. */
#include "formats/onnx.h"
#include "formats/tfjs.h"
#include "plan/emission.h"

typedef struct embedding_options {
  wml_layer_options layer;
  int input_dim, output_dim;
  wml_initializer initializer;
  wml_regularizer regularizer;
  wml_constraint constraint;
  bool mask_zero;
} embedding_options;

#define AT(member) offsetof(embedding_options, member)

static const wml_field fields[] = {
    {.key = "input_dim",
     .kind = WML_FIELD_INT,
     .offset = AT(input_dim),
     .low = 1,
     .high = 1 << 28,
     .suggested = 1000,
     .required = true,
     .nullable = true,
     .about = "How many numbers there are: the greatest and one; null: the values of its column."},
    {.key = "output_dim",
     .kind = WML_FIELD_INT,
     .offset = AT(output_dim),
     .low = 1,
     .high = 1 << 20,
     .suggested = 16,
     .required = true,
     .about = "The length of each vector."},
    WML_INITIALIZER_FIELD("embeddings", embedding_options, initializer, "random_uniform",
                          "How the vectors are set before training."),
    WML_REGULARIZER_FIELD("embeddings", embedding_options, regularizer,
                          "A penalty on large vectors that is added to the loss."),
    WML_CONSTRAINT_FIELD("embeddings", embedding_options, constraint,
                         "What vectors keep to after each update."),
    {.key = "mask_zero",
     .kind = WML_FIELD_BOOL,
     .offset = AT(mask_zero),
     .about = "Whether later layers skip the number 0; only false is supported."},
    {.key = "input_length", .kind = WML_FIELD_IGNORED},
    WML_TRAINABLE_FIELD,
    WML_NAME_FIELD,
};

static webml_status shape(wml_shaping *s) {
  const embedding_options *o = s->options;
  const wml_shape *in = &s->in[0];
  if (o->mask_zero) {
    wml_issue(s->issues, s->place, "mask_zero is not supported: no layer skips what it masks");
    wml_issue_cure(s->issues, "set mask_zero to false");
    wml_patch_set(s->issues, WML_OPTIONS_OF(s->place), "mask_zero", "false");
  }
  if (in->rank >= WML_MAX_RANK - 1) {
    wml_issue(s->issues, s->place, "takes inputs of 1 or 2 dimensions, not %d", in->rank);
    return WEBML_OK;
  }
  if ((int64_t)o->input_dim * o->output_dim > (int64_t)1 << 31) {
    wml_issue(s->issues, s->place, "a table of %d x %d is too large (at most 2^31 weights)",
              o->input_dim, o->output_dim);
    return WEBML_OK;
  }
  s->out = *in;
  s->out.dim[s->out.rank++] = o->output_dim;
  if (o->input_dim == 0) return WEBML_OK; /* open */
  return wml_shaping_param(s, "embeddings",
                           (wml_param){.rank = 2,
                                       .dim = {o->input_dim, o->output_dim},
                                       .initializer = o->initializer,
                                       .regularizer = o->regularizer,
                                       .constraint = o->constraint});
}

static void assume(const void *options, wml_shape *out) {
  if (out->rank >= WML_MAX_RANK - 1)
    *out = (wml_shape){0};
  else
    out->dim[out->rank++] = ((const embedding_options *)options)->output_dim;
}

/* ---- a step ---- */

static int forward(wml_emission *e) {
  wml_op *op = wml_emit_unary(e, WML_OP_EMBEDDING, e->in[0], "out/", &e->node->out);
  op->in[1] = e->param[0];
  return op->out[0];
}

static void backward(wml_emission *e, int dy) {
  int dtable = wml_emit_param_gradient(e, 0);
  if (dtable < 0) return;
  wml_op *op = wml_emit_op(e, WML_OP_EMBEDDING_BWD);
  op->in[0] = e->in[0];
  op->in[1] = dy;
  op->out[0] = dtable;
}

/* ---- exports ---- */

static webml_status onnx(wml_onnx_call *c) {
  const wml_named_tensor *t = wml_onnx_param(c, "embeddings");
  const char *table = wml_onnx_floats(c, t->name, t->rank, t->dim, t->data);
  return wml_onnx_result(c, wml_onnx_binary(c, "Gather", table, wml_onnx_input(c, 0, false)),
                         false);
}

static webml_status tfjs(wml_tfjs_call *c) {
  const embedding_options *o = c->options;
  wml_tfjs_int(c, "input_dim", o->input_dim);
  wml_tfjs_int(c, "output_dim", o->output_dim);
  return WEBML_OK;
}

const wml_layer_class wml_layer_embedding = {
    .name = "Embedding",
    .snake = "embedding",
    .about = "Gives each whole number, such as that of a word, a vector that is learned.",
    .takes = "whole numbers",
    .takes_indices = true,
    .options_size = sizeof(embedding_options),
    .fields = fields,
    .n_fields = sizeof fields / sizeof *fields,
    .shape = shape,
    .assume = assume,
    .forward = forward,
    .backward = backward,
    .onnx = onnx,
    .tfjs = tfjs};
