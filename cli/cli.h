/* The command line: each command is a function of its arguments that returns the exit code. */
#ifndef WEBML_CLI_H
#define WEBML_CLI_H

#include "webml.h"

#include <jansson.h>
#include <stdio.h>

/* CLI_PAUSED: a training was interrupted and goes on with --resume. */
enum { CLI_DONE = 0, CLI_FAILED = 1, CLI_WRONG_USE = 2, CLI_PAUSED = 3 };

/* ---- options.c ---- */

typedef enum cli_kind { CLI_FLAG, CLI_TEXT, CLI_INTEGER, CLI_NUMBER, CLI_FILL } cli_kind;

typedef struct cli_option {
  const char *name; /* without the dashes */
  cli_kind kind;
  void *value;       /* bool *, const char **, int64_t *, double *, webml_fill * */
  const char *shown; /* placeholder: "FILE" */
  const char *help;
} cli_option;

typedef struct cli_command {
  const char *name, *arguments, *summary;
  int least, most; /* positional arguments */
  int (*run)(int argc, char **argv);
} cli_command;

/* Fills the options and moves positional arguments to argv[0..]; returns their number, or -1 after
 * an error (already printed), or -2 after --help. */
int cli_parse(const cli_command *command, const cli_option *options, int n, int argc, char **argv);
/* One line on stderr: "webml: ..."; returns CLI_FAILED. */
int cli_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The library's last error, one line per line of it; returns CLI_FAILED. */
int cli_fail_last(void);
int cli_wrong_use(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The precision that a word names; NULL: float32. CLI_DONE or CLI_WRONG_USE. */
int cli_precision(const char *word, webml_precision *precision);
/* Parses JSON the library made. */
json_t *cli_json(char *text);
double cli_real(const json_t *object, const char *key);
/* Prints it with indentation and so many significant digits. */
void cli_dump(const json_t *json, int digits);

/* The word of --precision for predictions; CLI_DONE or CLI_WRONG_USE. */
int cli_inference_precision(const char *word, webml_inference_precision *precision);

extern const cli_command cli_train, cli_evaluate, cli_predict, cli_inspect, cli_summary,
    cli_devices, cli_export, cli_quantize, cli_shape, cli_sample, cli_check, cli_schema, cli_model;

/* ---- progress.c ---- */

typedef enum cli_progress_mode {
  CLI_PROGRESS_NONE,
  CLI_PROGRESS_PLAIN,
  CLI_PROGRESS_BAR,
  CLI_PROGRESS_JSON
} cli_progress_mode;

typedef struct cli_progress {
  cli_progress_mode mode;
  bool line_open; /* a bar is drawn and not ended */
} cli_progress;

/* The mode that the word of --progress names; CLI_DONE or CLI_WRONG_USE. */
int cli_progress_named(const char *word, cli_progress_mode *mode);
/* One line: {"event": name, ...members}, which is freed. */
void cli_event(const char *name, json_t *members);
void cli_show_progress(const webml_progress *progress, void *user);
void cli_show_message(const char *text, void *user);

/* report.c: an evaluation for people. */
void cli_print_evaluation(const json_t *evaluation);
/* Width of a text in columns: code points, which is right for most scripts. */
int cli_width(const char *text);
/* Prints a cell of `width` columns, cut with an ellipsis when it is longer. */
void cli_cell(const char *text, int width);

#endif
