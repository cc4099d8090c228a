#include "tickerd/ctl/commands.h"

int command_doctor(struct ctl *c)
{
    (void)c;
    ctl_say("doctor: not yet");
    return CTL_USAGE;
}
