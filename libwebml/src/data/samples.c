/* From an opened data set to arrays that a plan is fed with. */
#include "data/dataset.h"

void wml_samples_feeds(const wml_samples *s, wml_feed_spec *inputs, wml_feed_spec *targets) {
  inputs[0] = (wml_feed_spec){s->input_type, s->input_width, s->input_widths, s->input_cells};
  targets[0] = (wml_feed_spec){s->target_type, s->target_width, s->target_widths, s->target_cells};
}

void wml_loaded_clear(wml_loaded *l) {
  *l = (wml_loaded){0};
  for (int p = 0; p < WML_N_PARTS; p++) l->input[p].fd = l->target[p].fd = -1;
}

void wml_loaded_free(wml_loaded *l) {
  for (int p = 0; p < WML_N_PARTS; p++) {
    wml_region_free(&l->input[p]);
    wml_region_free(&l->target[p]);
  }
  wml_free(l->widths);
  wml_free(l->rows);
  wml_pipeline_free(&l->pipeline);
  wml_loaded_clear(l);
}

webml_status wml_dataset_load(const webml_dataset *d, const webml_model *m,
                              const wml_pipeline *given, unsigned parts, wml_loaded *l) {
  wml_loaded_clear(l);
  if (d->format != m->format)
    return wml_fail(WEBML_ERROR_MISMATCH, "the model takes %s, but %s is %s",
                    m->format == WML_FORMAT_IMAGES ? "images" : "a table", d->path,
                    d->format == WML_FORMAT_IMAGES ? "a set of images" : "a table");
  webml_status status = d->format == WML_FORMAT_CSV ? wml_load_table(d, m, given, parts, l)
                                                    : wml_load_images(d, m, given, parts, l);
  if (status != WEBML_OK) wml_loaded_free(l);
  return status;
}
