/* From an opened data set to arrays that a plan is fed with. */
#include "data/dataset.h"

/* Shares the cells of a row out to ends with so many columns each. */
static void share_cells(const wml_encoder *encoders, int n_encoders, int n, const int *columns,
                        const int32_t *widths, wml_feed_spec *feeds) {
  int at = 0, first = 0;
  for (int i = 0; i < n; i++) {
    wml_feed_spec *f = &feeds[i];
    f->first = first;
    for (int k = 0; k < columns[i] && at < n_encoders; k++, at++) {
      f->width += encoders[at].width;
      f->n_cells += wml_encoder_cells(&encoders[at]);
    }
    f->widths = widths ? widths + first : NULL;
    first += f->n_cells;
  }
  for (int i = 0; i < n; i++) feeds[i].row_cells = first;
}

void wml_samples_feeds(const wml_samples *s, const webml_model *m, const wml_pipeline *p,
                       wml_feed_spec *inputs, wml_feed_spec *targets) {
  int columns[WML_MAX_ENDS];
  for (int i = 0; i < m->n_inputs; i++)
    inputs[i] = (wml_feed_spec){
        .type = m->n_inputs > 1 || s->input_type == WML_F32 ? m->nodes[i].dtype : s->input_type};
  for (int i = 0; i < m->n_outputs; i++) targets[i] = (wml_feed_spec){.type = s->target_type};
  if (m->n_inputs == 1 && inputs[0].type != WML_I32)
    inputs[0] =
        (wml_feed_spec){s->input_type, s->input_width, s->input_widths, s->input_cells, 0, 0};
  else {
    for (int i = 0; i < m->n_inputs; i++)
      columns[i] = m->n_inputs > 1 ? m->inputs[i].columns.n : p->n_inputs;
    share_cells(p->inputs, p->n_inputs, m->n_inputs, columns, s->input_widths, inputs);
  }
  if (m->n_outputs == 1)
    targets[0] =
        (wml_feed_spec){s->target_type, s->target_width, s->target_widths, s->target_cells, 0, 0};
  else {
    for (int i = 0; i < m->n_outputs; i++) columns[i] = m->outputs[i].columns.n;
    share_cells(p->outputs, p->n_outputs, m->n_outputs, columns, s->target_widths, targets);
  }
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
