/* Pictures as PNG files, drawn with cairo. All return CLI_DONE, or CLI_FAILED after a message. */
#ifndef WEBML_CLI_DRAW_H
#define WEBML_CLI_DRAW_H

#include "cli.h"

typedef struct cli_tile {
  uint8_t *pixels;  /* [side, side, 3], freed by the caller; NULL: the picture is broken */
  char *caption[2]; /* lines below, or NULL */
  bool alarm;       /* the first line in red */
} cli_tile;

/* One picture of side x side pixels as it is. */
int cli_draw_picture(const char *path, const uint8_t *pixels, int side);
/* Tiles of side x side pixels, shown at `shown` pixels, in rows of up to `columns`. */
int cli_draw_sheet(const char *path, const char *title, const cli_tile *tiles, int n, int side,
                   int shown, int columns);
/* evaluation: the JSON of webml_predictor_evaluate() with a confusion matrix. */
int cli_draw_confusion(const char *path, const json_t *evaluation);
/* record: the JSON of webml_trainer_record(). */
int cli_draw_curves(const char *path, const json_t *record);

#endif
