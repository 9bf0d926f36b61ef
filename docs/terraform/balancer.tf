resource "aws_lb" "web" {
  name               = "${replace(var.group, "_", "-")}-web"
  load_balancer_type = "application"
  subnets            = aws_subnet.public[*].id
  security_groups    = [aws_security_group.balancer.id]
}

resource "aws_lb_target_group" "web" {
  name        = "${replace(var.group, "_", "-")}-web"
  target_type = "instance"
  vpc_id      = aws_vpc.this.id
  port        = 80
  protocol    = "HTTP"

  # What the slowest request takes. AWS's own 300 s would be added to each reboot of a host.
  deregistration_delay = 30

  # The same question as the app's own gate.
  health_check {
    path                = "/up"
    interval            = 10
    timeout             = 5
    healthy_threshold   = 2
    unhealthy_threshold = 2
  }
}

resource "aws_lb_listener" "https" {
  load_balancer_arn = aws_lb.web.arn
  port              = 443
  protocol          = "HTTPS"
  certificate_arn   = var.certificate
  ssl_policy        = "ELBSecurityPolicy-TLS13-1-2-2021-06"

  default_action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.web.arn
  }
}

resource "aws_lb_listener" "http" {
  load_balancer_arn = aws_lb.web.arn
  port              = 80
  protocol          = "HTTP"

  default_action {
    type = "redirect"

    redirect {
      port        = "443"
      protocol    = "HTTPS"
      status_code = "HTTP_301"
    }
  }
}
