/* logpulse: the server. */
#include "master/master.h"

int main(int argc, char **argv)
{
	argv = lp_title_init(argc, argv);
	return lp_master_main(argc, argv);
}
