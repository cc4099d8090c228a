/* The commands. Each returns the exit status of tickerctl (options.h) and has told what is wrong.
 */
#ifndef TICKERD_CTL_COMMANDS_H
#define TICKERD_CTL_COMMANDS_H

#include "tickerd/ctl/admin.h"

int command_status(struct ctl *c);
int command_channels(struct ctl *c);
int command_clients(struct ctl *c);
int command_tail(struct ctl *c);
int command_publish(struct ctl *c);
int command_disconnect(struct ctl *c);
int command_reload(struct ctl *c);
int command_drain(struct ctl *c);
int command_doctor(struct ctl *c);

#endif
