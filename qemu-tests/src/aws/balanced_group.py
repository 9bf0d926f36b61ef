# What a scene has that is about a load balancer: see BALANCED_GROUP.


class BalancedGroup:
    def __init__(self, port, delay):
        ec2, self.scaling, self.elb = client('ec2'), client('autoscaling'), client('elbv2')
        subnets = ec2.describe_subnets()['Subnets']
        image = ec2.register_image(Name='rollinit', RootDeviceName='/dev/xvda')['ImageId']
        self.scaling.create_launch_configuration(LaunchConfigurationName='c', ImageId=image,
            InstanceType='t3.small')
        self.scaling.create_auto_scaling_group(AutoScalingGroupName='web', MinSize=1, MaxSize=3,
            LaunchConfigurationName='c', DesiredCapacity=2,
            VPCZoneIdentifier=subnets[0]['SubnetId'])
        self.instances = [one['InstanceId'] for one
            in self.scaling.describe_auto_scaling_instances()['AutoScalingInstances']]
        front = self.elb.create_load_balancer(Name='front',
            Subnets=[subnet['SubnetId'] for subnet in subnets[:2]])['LoadBalancers'][0]
        self.web = self.elb.create_target_group(Name='web', Protocol='HTTP', Port=port,
            VpcId=subnets[0]['VpcId'], HealthCheckIntervalSeconds=5, HealthCheckTimeoutSeconds=2,
            HealthyThresholdCount=2)['TargetGroups'][0]['TargetGroupArn']
        self.elb.modify_target_group_attributes(TargetGroupArn=self.web,
            Attributes=[dict(Key='deregistration_delay.timeout_seconds', Value=str(delay))])
        self.elb.create_listener(LoadBalancerArn=front['LoadBalancerArn'], Protocol='HTTP',
            Port=80, DefaultActions=[dict(Type='forward', TargetGroupArn=self.web)])

    def register(self, *targets):
        self.elb.register_targets(TargetGroupArn=self.web, Targets=targets)
