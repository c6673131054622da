/* One-time tickets: a page that has its token in memory alone cannot send it with a download of the
 * browser's. A ticket takes the token's place in the address: for one path, one GET, and a minute.
 */
#ifndef SERVER_API_TICKETS_H
#define SERVER_API_TICKETS_H

#include "api.h"

bool api_tickets_start(api *a);
void api_tickets_stop(api *a);

/* Whether the query has a ticket that counts: the route takes them, and there is no Authorization.
 */
bool api_has_ticket(const api_call *call);
/* Uses it up, and makes the call its account's. False with a refusal. Blocks for the store. */
bool api_use_ticket(api_call *call, http_refusal *refusal);

#endif
