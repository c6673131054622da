/* Who the client is when proxies stand before this server. Knows nothing of libh2o. */
#ifndef SERVER_HTTP_PEERS_H
#define SERVER_HTTP_PEERS_H

#include "head.h"

enum { HTTP_NETWORKS = 64 };

typedef struct http_network {
  unsigned char bytes[16]; /* IPv6; IPv4 as ::ffff:a.b.c.d */
  int bits;
} http_network;

typedef struct http_networks {
  http_network list[HTTP_NETWORKS];
  int n;
} http_networks;

/* "10.0.0.1, 192.168.0.0/16, fd00::/8". False with a sentence. */
bool http_networks_parse(const char *text, http_networks *networks, char *error, size_t size);
bool http_networks_have(const http_networks *networks, const char *address);

/* The rightmost address of a proxy's field that is no proxy's; values: in their order, of
 * X-Forwarded-For, or (is_forwarded) of Forwarded (RFC 7239). False, and nothing in client: they
 * name none. */
bool http_forwarded_client(const http_networks *proxies, const http_text *values, int n,
                           bool is_forwarded, char client[48]);

/* Under which name a client is counted: its address, of IPv6 the network, since whoever has one has
 * 2^64 of them. */
void http_client_name(const char *address, char name[48]);

#endif
