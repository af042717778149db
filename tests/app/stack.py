"""Makes the stack of a CloudFormation template in moto, and writes what came of it to standard output as JSON.

With the template itself, read as YAML: moto leaves some properties out.
"""

import ast
import json
import sys

import boto3
from cfnlint.decode import cfn_yaml
from moto import mock_aws

REGION = "eu-west-1"


def document(policy):
    """What moto keeps as the text of a Python value."""
    return ast.literal_eval(str(policy["PolicyDocument"]))


@mock_aws
def main(path):
    ec2 = boto3.client("ec2", REGION)
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    zones = [("10.0.0.0/20", "a"), ("10.0.16.0/20", "b")]
    subnets = [
        ec2.create_subnet(VpcId=vpc, CidrBlock=network, AvailabilityZone=REGION + zone)["Subnet"]["SubnetId"]
        for network, zone in zones
    ]
    certificate = boto3.client("acm", REGION).request_certificate(DomainName="api.example.com")["CertificateArn"]
    parameters = {"VpcId": vpc, "LoadBalancerSubnetIds": ",".join(subnets), "CertificateArn": certificate}
    cloudformation = boto3.client("cloudformation", REGION)
    with open(path, encoding="utf-8") as template:
        cloudformation.create_stack(
            StackName="tollgate",
            TemplateBody=template.read(),
            Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
            Capabilities=["CAPABILITY_IAM"],
        )
    stack = cloudformation.describe_stacks(StackName="tollgate")["Stacks"][0]

    elb = boto3.client("elbv2", REGION)
    balancer = elb.describe_load_balancers()["LoadBalancers"][0]
    group = elb.describe_target_groups()["TargetGroups"][0]
    iam = boto3.client("iam", REGION)
    role = iam.list_roles()["Roles"][0]["RoleName"]
    policies = iam.list_role_policies(RoleName=role)["PolicyNames"]
    attached = iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"]
    groups = ec2.describe_security_groups(Filters=[{"Name": "vpc-id", "Values": [vpc]}])["SecurityGroups"]
    logs = boto3.client("logs", REGION).describe_log_groups()["logGroups"]
    told = {
        "template": cfn_yaml.load(path),
        "status": stack["StackStatus"],
        "outputs": {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]},
        "target_group": group,
        "listeners": elb.describe_listeners(LoadBalancerArn=balancer["LoadBalancerArn"])["Listeners"],
        "policies": [document(iam.get_role_policy(RoleName=role, PolicyName=name)) for name in policies],
        "attached": attached,
        "security_groups": [group for group in groups if group["GroupName"] != "default"],
        "log_groups": sorted(group["logGroupName"] for group in logs),
    }
    json.dump(told, sys.stdout)


main(sys.argv[1])
