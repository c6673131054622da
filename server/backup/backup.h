/* Everything that the server keeps in one zip file, made and put back while it runs: the store as
 * it was at one moment, the data sets and the trained weights. Not in it: the key of the tokens
 * (after a restoration everybody logs in again), uploads and trainings that were under way, the
 * log.
 *
 * A restoration is prepared beside the data (data_dir/restore) and then put in place; one that a
 * kill has cut short is finished by the next start. */
#ifndef SERVER_BACKUP_BACKUP_H
#define SERVER_BACKUP_BACKUP_H

#include "context/context.h"

/* Writes data_dir/backups/<key>.zip; it is there when it is whole. False with a sentence. Blocks
 * for as long as copying takes. */
bool backup_make(context *c, const char *key, char *error, size_t error_size);

/* Takes the file apart into data_dir/restore and checks it; replaces nothing yet. */
bool backup_prepare(const char *data_dir, const char *zip, char *error, size_t error_size);
/* Puts what was prepared in place of what is there. No training may run. */
bool backup_apply(context *c, char *error, size_t error_size);
/* Whether something was prepared and not yet put in place. */
bool backup_is_prepared(const char *data_dir);

#endif
