#include "base/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  wml_arena arena = {0};
  const wml_json *root = NULL;
  if (wml_json_parse(&arena, (const char *)data, size, "fuzz", &root) == WEBML_OK) {
    wml_text text = {0}; /* what is read can be written and read again */
    wml_json_write(&text, root);
    if (!text.failed && wml_json_parse(&arena, text.data, text.length, "again", &root) != WEBML_OK)
      __builtin_trap();
    wml_text_free(&text);
  }
  wml_arena_free(&arena);
  return 0;
}
