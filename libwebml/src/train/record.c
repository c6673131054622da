#include "train/trainer.h"

#include <math.h>

/* {"loss":[..],...} for the epochs that have ended. Numbers read back as the same doubles. */
void wml_series_write(const webml_trainer *t, wml_text *text) {
  wml_json_open(text, '{');
  for (int i = 0; i < t->n_series; i++) {
    wml_json_key(text, t->series_name[i]);
    wml_json_open(text, '[');
    for (int64_t e = 0; e < t->state.epoch; e++) wml_json_number(text, t->series[i][e]);
    wml_json_close(text, ']');
  }
  wml_json_close(text, '}');
}

bool wml_keeps_best(const webml_trainer *t) {
  return !t->model->optimizer.use_ema && !t->options.keep_last && t->state.best_epoch >= 0;
}

/* The epoch, from 1, whose weights the file holds; 0: those of a moment within one. */
static int64_t kept_epoch(const webml_trainer *t) {
  if (wml_keeps_best(t)) return t->state.best_epoch + 1;
  return t->state.epoch_step == 0 ? t->state.epoch : 0;
}

webml_status wml_record_write(const webml_trainer *t, wml_text *text) {
  wml_json_open(text, '{');
  wml_json_key(text, "epochs");
  wml_json_int(text, t->state.epoch);
  wml_json_key(text, "steps");
  wml_json_int(text, t->state.step);
  wml_json_key(text, "best_epoch");
  wml_json_int(text, t->state.best_epoch + 1);
  wml_json_key(text, "kept_epoch");
  if (kept_epoch(t))
    wml_json_int(text, kept_epoch(t));
  else
    wml_json_null(text);
  wml_json_key(text, "stopped");
  wml_json_bool(text, t->state.stopped);
  wml_json_key(text, "monitor");
  wml_json_string(text, t->series_name[t->monitor]);
  wml_json_key(text, "best");
  wml_json_number(text, t->state.best);
  wml_json_key(text, "batch_size");
  wml_json_int(text, t->options.batch_size);
  wml_json_key(text, "seed");
  wml_json_int(text, (long long)t->options.seed);
  wml_json_key(text, "training_samples");
  wml_json_int(text, t->data.parts[WML_PART_TRAINING].n);
  wml_json_key(text, "validation_samples");
  wml_json_int(text, t->data.parts[WML_PART_VALIDATION].n);
  wml_json_key(text, "seconds");
  wml_json_number(text, t->state.seconds);
  wml_json_key(text, "precision");
  wml_json_string(text, wml_precision_name((wml_precision)t->options.precision));
  wml_json_key(text, "device");
  wml_json_string(text, webml_device_identity(t->device));
  wml_json_key(text, "history");
  wml_series_write(t, text);
  wml_json_close(text, '}');
  return text->failed ? wml_no_memory(text->length, "the training record") : WEBML_OK;
}

webml_status webml_trainer_record(const webml_trainer *t, char **json) {
  if (!t || !json)
    return wml_fail(WEBML_ERROR_ARGUMENT,
                    "webml_trainer_record: trainer and json must not be NULL");
  wml_text text = {0};
  webml_status status = wml_record_write(t, &text);
  if (status == WEBML_OK) return wml_text_take(&text, json);
  wml_text_free(&text);
  return status;
}
