#include "data/table/table.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  wml_table table;
  wml_text text = {0};
  if (wml_table_parse((const char *)data, size, "fuzz.csv", NULL, &table) == WEBML_OK) {
    wml_table_write_properties(&text, &table, true);
    wml_table_free(&table);
  }
  wml_text_free(&text);
  return 0;
}
