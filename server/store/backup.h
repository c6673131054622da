/* What a backup does to the copy of a store. */
#ifndef SERVER_STORE_BACKUP_H
#define SERVER_STORE_BACKUP_H

#include "store.h"

/* Uploads, log-ins and trainings that were under way are not in a backup. */
bool backup_settle(store *copy);
/* Those with files: id, file; id, session. */
json_t *backup_datasets(store *copy);
json_t *backup_weights(store *copy);
/* Their files have just gone: so do they. */
void backup_drop_dataset(store *copy, int64_t id);
void backup_drop_weights(store *copy, int64_t id);
/* What is wrong with a store that claims to be a backup's: rows that name files outside their
 * folders, references to nothing, statements that run by themselves. NULL: nothing. Static text. */
const char *backup_problem(store *copy);
/* Before it is put back: uploads go, every token that was given, and every log-in, ends. */
bool backup_void_logins(store *copy);

#endif
