/* What starts sessions of either kind shares. */
#ifndef SERVER_API_SESSIONS_H
#define SERVER_API_SESSIONS_H

#include "need.h"
#include "store/sessions.h"

/* Whether there may be one more; false: answered. Known at once. */
bool session_is_allowed(api_call *call, session_new *n);
/* Adds the session, which starts when it is its turn, and answers with it. parameters: options of
 * `webml`, the call's from here on. first: the path of the weights that it needs; "": none. */
void session_begin(api_call *call, session_new *n, const training_need *need, json_t *parameters,
                   const char *first);
/* Rows as api_session_shape has them: with what the queue knows. Takes them; NULL: NULL. */
json_t *session_rows(api_call *call, json_t *rows);

extern const answer_shape api_sessions_shape, api_whole_session_shape;

#endif
