output "address" {
  description = "Where users go: make the name in DNS an alias of it."
  value       = aws_lb.web.dns_name
}

output "roll" {
  description = "How a release goes over the group, from anywhere with the policy `roll_policy`."
  value       = "AWS_REGION=${var.region} rollinit rollout start web PATH --ledger ${local.ledger} --group ${var.group} --wait"
}

output "push" {
  description = "How a release gets into the cache."
  value       = "nix copy --to 's3://${aws_s3_bucket.cache.id}?region=${var.region}&secret-key=FILE' PATH"
}

output "roll_policy" {
  description = "The policy of people and CI jobs that roll."
  value       = aws_iam_policy.roll.arn
}
