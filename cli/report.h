/* What a training or an evaluation leaves for people: on the terminal and as files. */
#ifndef WEBML_CLI_REPORT_H
#define WEBML_CLI_REPORT_H

#include "cli.h"

/* Files in `folder` (made if need be): evaluation.json, confusion.png and confusion.csv for
 * classes, mistakes.png for pictures. CLI_DONE, or CLI_FAILED after a message. */
int cli_report_evaluation(const char *folder, const json_t *evaluation,
                          const webml_dataset *dataset);
/* curves.png and curves.csv. */
int cli_report_history(const char *folder, const json_t *record);
int cli_make_folder(const char *folder);
/* "folder/name"; free(). */
char *cli_path(const char *folder, const char *name);

#endif
