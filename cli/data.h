/* Options about data that several commands share. */
#ifndef WEBML_CLI_DATA_H
#define WEBML_CLI_DATA_H

#include "cli.h"

typedef struct cli_data {
  webml_dataset_options options;
  const char *path, *split, *resize, *separator;
  int64_t split_seed;
} cli_data;

enum { CLI_DATA_OPTIONS = 20 };

/* Appends the options behind the `own` ones; returns how many there are in all. out: room for
 * own + CLI_DATA_OPTIONS. */
size_t cli_data_options(cli_data *d, const cli_option *own, size_t n, cli_option *out);
/* Turns words into options after cli_parse(); CLI_DONE or CLI_WRONG_USE. */
int cli_data_settle(cli_data *d);

enum { CLI_AUGMENTATION_OPTIONS = 12 };
size_t cli_augmentation_options(webml_augmentation *a, const cli_option *own, size_t n,
                                cli_option *out);

#endif
