/* Dense: [.., in] -> [.., units]: x kernel + bias over the last axis, then activation. units null
 * is open until the model is shaped to a data set. */
#include "model/fields.h"

#define AT(member) offsetof(wml_layer, member)

static const wml_field fields[] = {
    {.key = "units",
     .kind = WML_FIELD_INT,
     .offset = AT(u.dense.units),
     .low = 1,
     .high = 1 << 24,
     .suggested = 64,
     .required = true,
     .nullable = true,
     .about = "The number of outputs; null, in the last Dense: as many as the data set has."},
    WML_LINEAR_FIELDS,
    WML_TRAINABLE_FIELD,
    WML_NAME_FIELD,
};

static webml_status shape(wml_arena *arena, wml_layer *l, const wml_json_path *place,
                          wml_issues *issues) {
  int before = issues->count;
  int64_t in = l->in.dim[l->in.rank - 1], units = l->u.dense.units;
  l->out = l->in;
  l->out.dim[l->out.rank - 1] = units ? units : -1;
  if (in <= 0 || units == 0 || issues->count > before) return WEBML_OK;
  if (in * units > (int64_t)1 << 31) {
    wml_issue(issues, place, "a kernel of %lld x %lld is too large (at most 2^31 weights)",
              (long long)in, (long long)units);
    wml_issue_cure(issues, "use fewer units, or make the picture smaller by MaxPooling2D before");
    return WEBML_OK;
  }
  int64_t rows = wml_shape_elements(&l->in) / in;
  if (rows > 0) l->flops = (double)rows * (double)units * (double)(2 * in + l->use_bias);
  WML_TRY(wml_layer_param(arena, l, "kernel",
                          (wml_param){.rank = 2,
                                      .dim = {in, units},
                                      .initializer = l->kernel_initializer,
                                      .regularizer = l->kernel_regularizer}));
  if (!l->use_bias) return WEBML_OK;
  return wml_layer_param(arena, l, "bias",
                         (wml_param){.rank = 1,
                                     .dim = {units},
                                     .initializer = l->bias_initializer,
                                     .regularizer = l->bias_regularizer});
}

const wml_layer_class wml_layer_dense = {.fields = fields,
                                         .n_fields = sizeof fields / sizeof *fields,
                                         .shape = shape,
                                         .takes = NULL,
                                         .gives = 0,
                                         .about = "Connects every input with every output."};
