#include "data/tally.h"

int wml_pipeline_classes_of(const wml_pipeline *p) {
  if (p->format == WML_FORMAT_IMAGES) return p->n_classes;
  if (p->n_outputs != 1 || wml_encoder_is_number(&p->outputs[0])) return 0;
  return wml_pipeline_label_count(p);
}

static int said_class(const float *y, int64_t width) {
  return width == 1 ? (y[0] > 0.5f ? 1 : 0) : (int)wml_argmax(y, (long)width);
}

static void note_mistake(wml_tally *t, webml_mistake m) {
  if (t->most == 0) return;
  if (t->n == t->most && !(m.probability > t->mistakes[t->most - 1].probability)) return;
  int at = t->n < t->most ? t->n++ : t->most - 1;
  for (; at > 0 && t->mistakes[at - 1].probability < m.probability; at--)
    t->mistakes[at] = t->mistakes[at - 1];
  t->mistakes[at] = m;
}

void wml_tally_row(wml_tally *t, const wml_samples *s, int64_t row, const float *y, int64_t width) {
  int truth = s->target_type == WML_I32 ? ((const int32_t *)s->target)[row]
                                        : (int)((const float *)s->target)[row];
  int said = said_class(y, width);
  if (t->confusion) t->confusion[(int64_t)truth * t->classes + said]++;
  if (said == truth) return;
  double probability = (double)(width == 1 ? (said ? y[0] : 1.0f - y[0]) : y[said]);
  note_mistake(t, (webml_mistake){row, truth, said, probability});
}
