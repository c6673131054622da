#include "webml.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  webml_model *model = NULL, *again = NULL;
  char *json = NULL, *summary = NULL, *answer = NULL;
  if (webml_model_parse((const char *)data, size, &model) == WEBML_OK) {
    if (webml_model_to_json(model, &json) == WEBML_OK &&
        webml_model_parse(json, strlen(json), &again) != WEBML_OK)
      __builtin_trap();
    webml_model_summary(model, &summary);
  }
  /* Whatever is wrong, the check has an answer. */
  if (webml_model_check((const char *)data, size, NULL, &answer) != WEBML_OK) __builtin_trap();
  webml_free(answer);
  webml_free(json);
  webml_free(summary);
  webml_model_destroy(again);
  webml_model_destroy(model);
  return 0;
}
