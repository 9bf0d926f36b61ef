# What every test guest has beside its services: a way to run commands inside, on the second serial
# line, and the test programs.
{ pkgs, ... }:
{
  rollinit.services.agent = {
    exec = [ "${pkgs.rollinit-test-apps}/bin/rollinit-testagent" "/dev/ttyS1" ];
    restart.backoffMin = "100ms";
  };
}
