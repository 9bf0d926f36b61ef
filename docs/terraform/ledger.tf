# The records of the group (docs/ledger.md). No expiry (TTL), no replica in another region: two
# regions that both win are two winners.
resource "aws_dynamodb_table" "ledger" {
  name         = "${var.group}-rollinit"
  billing_mode = "PAY_PER_REQUEST"
  hash_key     = "ledger"
  range_key    = "key"

  deletion_protection_enabled = true

  attribute {
    name = "ledger"
    type = "S"
  }

  attribute {
    name = "key"
    type = "S"
  }

  point_in_time_recovery {
    enabled = true
  }
}

# The binary cache: `nix copy --to 's3://BUCKET?region=REGION&secret-key=FILE' PATH` fills it. Hosts
# read it over HTTPS by the endpoint of their network, and believe what the key has signed.
resource "aws_s3_bucket" "cache" {
  bucket_prefix = "${lower(replace(var.group, "_", "-"))}-cache-"
}

resource "aws_s3_bucket_public_access_block" "cache" {
  bucket                  = aws_s3_bucket.cache.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

data "aws_iam_policy_document" "cache" {
  statement {
    actions   = ["s3:GetObject"]
    resources = ["${aws_s3_bucket.cache.arn}/*"]

    principals {
      type        = "*"
      identifiers = ["*"]
    }

    condition {
      test     = "StringEquals"
      variable = "aws:SourceVpce"
      values   = [aws_vpc_endpoint.gateway["s3"].id]
    }
  }

  # So that a path that is not there is 404 and not 403.
  statement {
    actions   = ["s3:ListBucket"]
    resources = [aws_s3_bucket.cache.arn]

    principals {
      type        = "*"
      identifiers = ["*"]
    }

    condition {
      test     = "StringEquals"
      variable = "aws:SourceVpce"
      values   = [aws_vpc_endpoint.gateway["s3"].id]
    }
  }
}

resource "aws_s3_bucket_policy" "cache" {
  bucket = aws_s3_bucket.cache.id
  policy = data.aws_iam_policy_document.cache.json
}

locals {
  ledger = "dynamodb://${aws_dynamodb_table.ledger.name}"
  cache  = "https://${aws_s3_bucket.cache.bucket_regional_domain_name}"
}
