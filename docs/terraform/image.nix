# The system of the AMI: nixos/ec2.nix and what is ours. docs/ec2.md makes an image of it.
{ pkgs, ... }:
{
  # Group and ledger come with the user-data: one image for staging and production.
  rollinit.fleet.enable = true;

  rollinit.apps.web = {
    closure = pkgs.storefront;
    listen.http = 80;
    health.http = "/up";
    swap = { strategy = "overlap"; drain = "30s"; bake = "20s"; };
  };

  # Around a swap by overlap the balancer is not touched; around the end of a host it is.
  rollinit.balancers.front = {
    kind = "alb";
    app = "web";
    target-groups = [ "prod-web" ];
    asg = "none";
  };
}
