#include "train/trainer.h"

#include <string.h>

enum { MOST_CLASSES = 128, MOST_MISTAKES = 16 };

bool wml_detail_wanted(const webml_trainer *t) {
  return t->tally.classes > 0;
}

static webml_status name_classes(webml_trainer *t, int n) {
  const wml_pipeline *p = &t->data.pipeline;
  t->class_names = wml_arena_alloc(&t->arena, (size_t)n * sizeof *t->class_names);
  if (!t->class_names) return wml_no_memory((size_t)n * sizeof *t->class_names, "class names");
  for (int i = 0; i < n; i++) {
    char buffer[WML_NUMBER_BYTES];
    const char *name = wml_pipeline_class_name(p, i, buffer);
    t->class_names[i] = wml_arena_copy(&t->arena, name, strlen(name));
    if (!t->class_names[i]) return wml_no_memory(strlen(name), "a class name");
  }
  return WEBML_OK;
}

webml_status wml_detail_create(webml_trainer *t) {
  int n = wml_pipeline_classes_of(&t->data.pipeline);
  bool wanted = t->options.progress_detail && t->data.parts[WML_PART_VALIDATION].n > 0;
  if (!wanted || n == 0) return WEBML_OK;
  wml_shape out = wml_model_output_shape(t->model);
  size_t outputs = (size_t)t->options.batch_size * (size_t)wml_shape_elements(&out);
  WML_TRY(name_classes(t, n));
  if (n <= MOST_CLASSES)
    t->tally.confusion = wml_calloc((size_t)n * (size_t)n, sizeof *t->tally.confusion);
  t->outputs = wml_alloc(outputs * sizeof *t->outputs);
  if (!t->outputs || (n <= MOST_CLASSES && !t->tally.confusion))
    return wml_no_memory(outputs * sizeof *t->outputs, "the classes of validation");
  t->tally.classes = n;
  t->tally.most = MOST_MISTAKES;
  return WEBML_OK;
}

void wml_detail_begin(webml_trainer *t) {
  size_t n = (size_t)t->tally.classes;
  t->tally.n = 0;
  if (t->tally.confusion) memset(t->tally.confusion, 0, n * n * sizeof *t->tally.confusion);
}

webml_status wml_detail_count(webml_trainer *t, const wml_unit *unit, int64_t first) {
  const wml_samples *s = &t->data.parts[WML_PART_VALIDATION];
  const wml_tensor *out = &unit->step.graph.tensors[unit->step.outputs[0]];
  int64_t width = wml_row_elements(out);
  WML_TRY(wml_from_result(t->device->backend->read(unit->plan, unit->step.outputs[0], t->outputs)));
  for (int64_t i = 0; i < out->dim[0]; i++)
    wml_tally_row(&t->tally, s, wml_sample_row(s, first + i), t->outputs + i * width, width);
  return WEBML_OK;
}

void wml_detail_free(webml_trainer *t) {
  wml_free(t->tally.confusion);
  wml_free(t->outputs);
}
