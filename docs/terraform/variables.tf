variable "region" {
  description = "The region of everything."
  type        = string
}

variable "group" {
  description = "The group that the hosts are members of: an environment of one kind of host. One of these folders for each."
  type        = string

  validation {
    condition     = can(regex("^[A-Za-z0-9_-]{1,24}$", var.group))
    error_message = "Letters, digits, - and _, 24 at most: AWS names a load balancer after it."
  }
}

variable "image" {
  description = "The AMI, made as docs/ec2.md says, of image.nix in this folder."
  type        = string
}

variable "first_release" {
  description = "The store path that the very first hosts run. Rollouts decide after that."
  type        = string

  validation {
    condition     = can(regex("^/nix/store/[0-9a-z]{32}-[^/]+$", var.first_release))
    error_message = "Write /nix/store/HASH-NAME."
  }
}

variable "cache_key" {
  description = "The public key by which paths in the cache bucket are signed, NAME:BASE64."
  type        = string
}

variable "certificate" {
  description = "ARN of the load balancer's certificate, in ACM."
  type        = string
}

variable "instance_type" {
  description = "A Nitro type, x86_64."
  type        = string
  default     = "t3.small"
}

variable "hosts" {
  description = "How many hosts there are at the beginning; auto-scaling decides after that, between 2 and 10."
  type        = number
  default     = 3
}
